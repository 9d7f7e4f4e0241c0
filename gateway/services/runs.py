"""The engine's front door: accept a message, wait for a run, end it, read how it stands.

Owns nothing of its own: steps decide on disk, the engine moves memory. Every method that changes something returns
after it is on disk."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from typing import Any

import msgspec
import trio

from gateway.protocol.errors import Refusal, invalid, unavailable
from gateway.protocol.limits import MAX_MESSAGE_CHARS
from gateway.services import admission, endings, results, turns
from gateway.services.announce import PREFIX as ANNOUNCES
from gateway.services.announce import announce_id
from gateway.services.changes import Outcome, SessionChanged
from gateway.services.engine import Engine
from gateway.services.patience import Patience
from gateway.services.pingpong import PREFIX as REPLIES
from gateway.services.run_state import HELD, Event, State
from gateway.services.work import CRON, Accepted, NewMessage, Record, RunSnapshot
from gateway.store import runs, sessions
from gateway.store.runs import RunRecord
from gateway.store.writer import Entry

MAX_LISTED_CHILDREN = 1000
MAX_ID_CHARS = 256
OWN_IDS = (ANNOUNCES, REPLIES, CRON)
"""How the ids of runs begin that the gateway makes from those of others: a caller that could take one beforehand would
keep a result from being told, or a run from ending."""

_COPIED = [name for name in RunSnapshot.__struct_fields__ if name in RunRecord.__struct_fields__]


def no_run(run_id: str) -> Refusal:
    """What somebody is told who names a run there is not."""
    return invalid(f'there is no run "{run_id[:128]}"; peergate runs lists those there are')


def snapshot_of(run: RunRecord, state: str | None = None) -> RunSnapshot:
    """A row as services and tools see it; `state` is memory's word where it knows better."""
    values: dict[str, Any] = {name: getattr(run, name) for name in _COPIED}
    values |= {"state": state or run.state, "run_id": run.id, "session_key": run.session}
    return RunSnapshot(agent_id=run.agent, parent_session_key=run.parent_session, **values)


class Runs:
    """All runs there are."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._database = engine.database
        self._patience = Patience(engine.timers)

    # --- taking and ending --------------------------------------------------------------------------------------------

    async def accept(self, message: NewMessage) -> Accepted:
        """Take a message. Raises ChildLimit (message.spawn.max_children), Refusal (too long, unknown agent, draining,
        too many waiting, the id was used for something else)."""
        outcome: Outcome[Accepted] = await self._database.write_together(
            admission.accept_all, self.check(message), then=self._follow
        )
        return outcome.value

    def offer(self, message: NewMessage, within_s: float, tell: Callable[[Accepted | Exception], None]) -> None:
        """`accept` for who has no task that waits: `tell` hears what it returns or raises, or trio.TooSlowError when
        that takes longer than `within_s`; then the message may still be taken."""

        def settle() -> None:
            if self._patience.end(within_s, give_up):
                tell(entry.error or entry.result.value)

        def give_up() -> None:
            tell(trio.TooSlowError())

        try:
            entry = Entry(self.check(message), step=admission.accept_all, then=self._follow, settle=settle)
        except Refusal as refusal:
            return tell(refusal)
        self._patience.begin(within_s, give_up)
        self._database.put(entry)

    def _follow(self, outcome: Outcome[Accepted]) -> None:
        self._engine.apply(outcome.changes)

    def check(self, message: NewMessage) -> admission.Offer:
        """The message as it is stored, and when it came. Raises Refusal for what is refused whatever is on disk."""
        engine = self._engine
        if not 0 < len(message.run_id) <= MAX_ID_CHARS:
            raise invalid(f"an idempotency key has 1 to {MAX_ID_CHARS} characters, this one {len(message.run_id)}")
        if message.run_id.startswith(OWN_IDS):
            raise invalid(f"an idempotency key must not begin with {' or '.join(OWN_IDS)}, as ids of other runs do")
        if len(message.text) > MAX_MESSAGE_CHARS:
            raise invalid(f"the message has {len(message.text)} characters, at most {MAX_MESSAGE_CHARS} are allowed")
        agent = self._agent_of(message.session_key)
        self._check_open(agent, message.run_id)
        return self._with_limit(message, agent), engine.clock()

    def _check_open(self, agent: str, run_id: str) -> None:
        """Raises Refusal when no new message for this agent is taken now; one that was taken before is."""
        engine = self._engine
        if (engine.draining is None and engine.holds.reason(agent) is None) or self.snapshot(run_id) is not None:
            return
        if engine.draining is not None:
            again = "send it again when it is back; programs: with the same idempotency key"
            raise unavailable(f"the system is stopping ({engine.draining}); {again}", 1000)
        raise unavailable(f"not accepted: {engine.holds.why(agent)}", code="AGENT_QUARANTINED", agentId=agent)

    def _with_limit(self, message: NewMessage, agent: str) -> NewMessage:
        settings = self._engine.settings
        most = settings.limits_of(agent).transcript_bytes
        if most is None:
            return message
        key = settings.limit_key(agent, "transcriptBytes")
        return msgspec.structs.replace(message, max_transcript_bytes=most, max_transcript_key=key)

    def _agent_of(self, session_key: str) -> str:
        entries = self._engine.settings.agents.entries
        agent = session_key.split(":")[1].lower() if session_key.count(":") > 1 else ""
        if agent not in entries:
            known = ", ".join(sorted(entries))
            raise invalid(f'"{session_key[:128]}" names no configured agent; configured: {known} (agents.entries)')
        return agent

    async def abort(self, *, session_key: str | None = None, run_id: str | None = None, reason: str = "") -> list[str]:
        """End a run, or everything unfinished of a session, with all descendants. The ids of the runs that were
        ended."""
        now = self._engine.clock()

        def step(db: Any) -> Outcome[list[str]]:
            if run_id is not None:
                return endings.abort(db, [run_id], reason, now)
            roots = [run.id for run in runs.unfinished_of_session(db, session_key or "")]
            return endings.abort(db, roots, reason, now, below=session_key)

        return await self._engine.commit(step)

    async def take_results(
        self,
        parent_session: str,
        run_ids: list[str] | None,
        timeout_s: float,
        make_record: Callable[[list[RunSnapshot]], Record | None] = lambda found: None,
    ) -> list[RunSnapshot]:
        """Results of finished children, taken so that they are not announced any more. None: whatever is not delivered
        yet.

        Waits until there is at least one, nothing is left to wait for (every named one was taken before), or
        `timeout_s` is over; then: an empty list. What `make_record` returns is stored in the same transaction; it runs
        in another thread and must only read what it is given."""
        engine = self._engine

        def step(db: Any) -> Outcome[list[RunRecord]]:
            return results.take(db, parent_session, run_ids, lambda found: make_record([*map(snapshot_of, found)]), now)

        deadline = trio.current_time() + timeout_s
        while True:
            now = engine.clock()
            with engine.results.expecting(parent_session) as arrived:
                # Looked at before the step: a child that ends meanwhile is found by the next one.
                left = self.active_children(parent_session) if run_ids is None else self.unfinished(run_ids)
                # Not under the deadline: what is taken must be told.
                if found := await engine.commit(step):
                    return [*map(snapshot_of, found)]
                if not left:
                    engine.results.tell(parent_session)
                    return []
                with trio.move_on_at(deadline) as waiting:
                    await arrived.wait()
            if waiting.cancelled_caught:
                return []

    def hold_slot(self, run_id: str | None, waiting: bool) -> None:
        """True: one of the run's tool calls waits, so it gives its lane slot to others; False: that call is over. Calls
        nest."""
        engine = self._engine
        run = engine.board.get(run_id) if run_id else None
        if run is None or run.state not in HELD:
            return
        run.waits = max(0, run.waits + (1 if waiting else -1))
        if waiting and run.waits == 1:
            run.state = State.WAITING
            engine.lanes.pause(run.id)
            self._note(run.id, Event.BLOCKED)
            engine.pump()
        elif not waiting and run.waits == 0:
            run.state = State.RUNNING
            engine.lanes.resume(run.id)
            self._note(run.id, Event.UNBLOCKED)
            engine.touch(run.id)

    def touch(self, run_id: str | None) -> None:
        """The run gave a sign of progress."""
        self._engine.touch(run_id)

    def _note(self, run_id: str, event: Event) -> None:
        self._database.post(lambda db: turns.note_state(db, run_id, event), lazy=True)

    async def reset(self, session_key: str) -> str | None:
        """Begin a session anew: its transcript and state go. Its new session id, None when there is no such session.
        Raises Refusal while something goes on in it."""
        now, session_id = self._engine.clock(), str(uuid.uuid4())

        def step(db: Any) -> Outcome[str | None]:
            if sessions.get(db, session_key) is None:
                return Outcome(None)
            if runs.unfinished_of_session(db, session_key):
                raise unavailable(f"the session {session_key} is at work; wait, or: peergate abort {session_key}")
            sessions.empty(db, session_key, session_id, now)
            return Outcome(session_id, [SessionChanged(session_key, "reset")])

        return await self._engine.commit(step)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def wait(self, run_id: str, timeout_s: float) -> RunSnapshot:
        """The run when it has ended, or as it stands after `timeout_s` (may be inf). Raises Refusal for an unknown
        run."""
        engine = self._engine
        if engine.board.get(run_id) is not None:
            with engine.endings.expecting(run_id) as ended, trio.move_on_after(timeout_s):
                await ended.wait()
        snapshot = self.snapshot(run_id)
        if snapshot is None:
            raise no_run(run_id)
        return snapshot

    def snapshot(self, run_id: str) -> RunSnapshot | None:
        """How a run stands now, or None for an unknown one."""
        record = self._database.read(lambda db: runs.get(db, run_id))
        return self._seen(record) if record else None

    def children(
        self, session_key: str, recent_minutes: int | None = None, limit: int = MAX_LISTED_CHILDREN
    ) -> list[RunSnapshot]:
        """Sub-agent runs this session started, newest first: unfinished ones and those that ended within
        `recent_minutes` (None: all), at most `limit`."""
        since = 0.0 if recent_minutes is None else self._engine.clock() - recent_minutes * 60_000
        found = self._database.read(lambda db: runs.children_of_session(db, session_key, since, limit))
        return [self._seen(run) for run in found]

    def children_named(self, session_key: str, name: str) -> list[RunSnapshot]:
        """Those of them that a run id, a session key or a task name means."""
        found = self._database.read(lambda db: runs.children_named(db, session_key, name, MAX_LISTED_CHILDREN))
        return [self._seen(run) for run in found]

    def active_children(self, session_key: str) -> int:
        """Unfinished sub-agent runs this session started."""
        return self._engine.board.children(session_key)

    def unfinished(self, run_ids: Collection[str]) -> int:
        """How many of these runs go on."""
        return sum(1 for run_id in run_ids if self._engine.board.get(run_id) is not None)

    def active_run(self, session_key: str) -> str | None:
        """The run a worker is busy with on this session (starting, running or waiting), or None."""
        run = self._engine.board.current(session_key)
        return run.id if run else None

    def list_runs(
        self, *, unfinished: bool = False, limit: int = 100, offset: int = 0, **wanted: str | None
    ) -> list[RunSnapshot]:
        """Newest first, texts cut at 2000 characters. `wanted`: columns of the store and what they must be, unless that
        is None; what is on disk follows within 50 ms. Of whatever waits for a worker, what it waits for."""
        filters = {name: value for name, value in wanted.items() if value is not None}
        found = self._database.read(lambda db: runs.page(db, filters, limit, offset, unfinished=unfinished))
        return [self._seen(run, always=True) for run in found]

    def counts(self) -> dict[str, int]:
        """Unfinished runs by state."""
        return self._engine.board.counts()

    def announce_waits(self, run_id: str) -> str | None:
        """Why the result of this sub-agent's run waits longer than it should for the parent, or None."""
        told = self.snapshot(announce_id(run_id)) if self._engine.board.get(announce_id(run_id)) else None
        return told.waits if told else None

    def _seen(self, record: RunRecord, *, always: bool = False) -> RunSnapshot:
        active = self._engine.board.get(record.id)
        if active is None or record.ended_at is not None:
            return snapshot_of(record)
        seen = snapshot_of(record, str(active.state))
        why = self._engine.unheard.why(active, record.created_at, always=always)
        return msgspec.structs.replace(seen, waits=why) if why else seen
