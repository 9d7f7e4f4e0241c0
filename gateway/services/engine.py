"""The engine: what memory knows of runs, and what happens next because of it.

Owns the one way memory follows the disk: a step runs in a transaction, its changes are applied here in commit order,
and then whatever may start is started. Nothing here polls or sleeps on the way of a turn."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import trio

from gateway.config.settings import Settings
from gateway.protocol.errors import Refusal
from gateway.services import endings, turns
from gateway.services.arrivals import Arrivals
from gateway.services.board import Active, Board, active_of
from gateway.services.changes import Change, Ended, Leased, Outcome, Queued, Said, SessionChanged, Steered
from gateway.services.endings import Ending, Loss
from gateway.services.holds import Holds
from gateway.services.lanes import Lanes, caps_of
from gateway.services.news import News, session_row
from gateway.services.overtime import Overtime
from gateway.services.ports import Publisher, Supervisor
from gateway.services.run_state import Event, State
from gateway.services.timers import Timers
from gateway.services.unheard import Unheard
from gateway.services.workers import Seat, Workers, how_it_ended, is_over_limit
from gateway.store import sessions
from gateway.store.database import Database
from supervisor.messages import Exited

T = TypeVar("T")
log = logging.getLogger("gateway.engine")

LET_GO_SECONDS = 5.0
"""How long a worker may take to let go of a run that was ended; then it is ended itself."""
RETRY_WRITE_SECONDS = 1.0
"""A step nobody waits for is tried again after this when the disk refuses it."""


class Engine:
    """Board, lanes, seats and deadlines, moved by changes."""

    def __init__(
        self, database: Database, settings: Settings, supervisor: Supervisor, hub: Publisher,
        clock: Callable[[], float], nursery: trio.Nursery,
    ) -> None:  # fmt: skip
        self.database = database
        self.settings = settings
        self.supervisor = supervisor
        self.clock = clock
        self.board = Board()
        self.lanes = Lanes(lambda lane: self._cap(lane))
        self.timers = Timers()
        self.news = News(hub, self.timers, self._session_rows, clock)
        self.overtime = Overtime(
            self.timers, clock, lambda: self.settings, lambda r, t: self.news.deadline(r, t, clock()), self._expire
        )
        self.holds = Holds()
        self.workers = Workers(supervisor, hub, nursery, self.timers, self._worker_gone, self.quarantine)
        self.unheard = Unheard(self, self.news.unheard)
        self.draining: str | None = None
        self.endings = Arrivals()
        self.results = Arrivals()
        self._nursery = nursery

    # --- steps --------------------------------------------------------------------------------------------------------

    async def commit(self, step: Callable[[sqlite3.Connection], Outcome[T]]) -> T:
        """Run a step and follow it; returns its value once it is on disk and known here."""
        outcome = await self.database.write(step, then=lambda done: self.apply(done.changes))
        return outcome.value

    def insist(self, step: Callable[[sqlite3.Connection], list[Change]]) -> None:
        """A step that must happen and that nobody waits for: tried until the disk takes it."""
        self._nursery.start_soon(self._insist, step)

    async def _insist(self, step: Callable[[sqlite3.Connection], list[Change]]) -> None:
        while True:
            try:
                await self.database.write(step, then=self.apply)
            except Refusal as refusal:
                log.error("not stored, will be tried again: %s", refusal)
                await trio.sleep(RETRY_WRITE_SECONDS)
            else:
                return

    def apply(self, changes: list[Change]) -> None:
        """Follow what a transaction did, then start whatever may start. Runs in commit order."""
        for change in changes:
            match change:
                case Queued():
                    self._queued(change)
                case Steered():
                    self._steered(change)
                case Leased():
                    self._leased(change)
                case Ended():
                    self._ended(change)
                case Said():
                    self.news.said(change.message)
                case SessionChanged():
                    self.news.session(change.key, change.reason)
        self.pump()

    def _queued(self, change: Queued) -> None:
        run = self.board.get(change.run.id) or active_of(change.run, change.owner)
        self._set_back(run)
        run.attempt = change.run.attempt
        self.board.add(run)
        if change.created and self.holds.unstop(run.agent):
            self.unpark(run.agent)
        self.unheard.begin(run, change.run.created_at)
        self.enqueue(run)

    def _steered(self, change: Steered) -> None:
        run = self.board.get(change.run.id) or active_of(change.run, change.owner)
        self._set_back(run)
        run.host = change.host.id
        self.unheard.end(run.id)
        self.board.add(run)
        if seat := self.workers.seat(change.host.spawn):
            mail = {"id": change.mail.id, "message": change.mail.text, "provenance": change.mail.provenance}
            seat.post("worker.steer", {"runId": change.host.id, "attempt": change.host.attempt, "mails": [mail]})

    def _leased(self, change: Leased) -> None:
        record = change.run
        run = self.board.get(record.id)
        assert run is not None, f"{record.id} was leased and is not on the board"
        if run.state is State.QUEUED:  # put back while the lease was being written: its worker has it all the same
            if begun := self.board.current(run.session):  # in its place, meanwhile
                self.put_back(begun)
            self.holds.unpark(run.agent, run.id)
            self.lanes.hold(run.ticket)
            self.board.set_current(run)
        run.state, run.attempt, run.spawn, run.heard, run.waits = State.RUNNING, record.attempt, record.spawn, False, 0
        self.timers.clear(("start", run.id))
        self.workers.asked(run.session)
        self.unheard.end(run.id)
        self.overtime.begin(run, record)
        self.news.started(run, record)
        seat = self.workers.seat(run.spawn)
        if seat is None:  # it died while the lease was being written
            self._lose(run, Loss("its worker ended as it was given the run", repeatable=True))
        else:
            seat.holds = run.id

    def _ended(self, change: Ended) -> None:
        record = change.run
        run = self.board.remove(record.id)
        self.lanes.release(record.id)
        self.holds.unpark(record.agent, record.id)
        self.timers.clear(("start", record.id))
        self.unheard.end(record.id)
        self.overtime.end(record.id)
        self.endings.tell(record.id)
        self.results.tell(record.parent_session or "")
        if run is not None:
            self.news.ended(run, record)
            if record.state == State.INTERRUPTED:
                self.news.parked(record)
            if run.state is State.STARTING:
                self.workers.dismiss(run.session)
        seat = self.workers.seat(record.spawn)
        if seat is not None and seat.holds == record.id:
            self._end_turn(seat, record.id, record.state, record.error, by_worker=change.by_worker)

    def _end_turn(self, seat: Seat, run_id: str, state: str, why: str | None, *, by_worker: bool) -> None:
        if by_worker:
            seat.holds = None
            return
        status = state if state in (State.ABORTED, State.TIMED_OUT) else "abandoned"
        seat.post("worker.abort", {"runId": run_id, "status": status, "reason": why or state})
        self.timers.set(("let go", seat.holder.spawn), LET_GO_SECONDS, partial(self._not_let_go, seat, run_id))

    def _not_let_go(self, seat: Seat, run_id: str) -> None:
        if seat.holds == run_id:
            why = f"it did not let go of the ended run {run_id} within {LET_GO_SECONDS:.0f} s"
            self.supervisor.stop_worker(seat.holder.spawn, why, 2.0)

    def _session_rows(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        found = self.database.read(lambda db: sessions.get_many(db, keys))
        return {key: session_row(one, active=self.board.current(key) is not None) for key, one in found.items()}

    # --- starting -----------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Start every run that may start. None does while the disk takes no lease."""
        if self.draining is None and self.database.trouble is None:
            for run_id in self.lanes.start():
                run = self.board.get(run_id)
                assert run is not None, f"{run_id} was in the lanes and is not on the board"
                self._start(run)

    def disk_changed(self, trouble: Refusal | None) -> None:
        """The disk refuses to store from now on, or stores again."""
        if trouble is not None:
            self.news.notice("error", "STORAGE", trouble.shape.message, fix="free some space; see peergate health")
        else:
            self.news.notice("info", "STORAGE", "the database takes writes again")
        self.pump()

    def _start(self, run: Active) -> None:
        run.state = State.STARTING
        self.board.set_current(run)
        if run.agent not in self.settings.agents.entries:
            return self.fail(run.id, f"the agent {run.agent} is not configured any more (agents.entries)")
        self.database.post(lambda db: turns.note_state(db, run.id, Event.STARTED), lazy=True)
        limit = self.settings.subagents_of(run.agent).spawn_timeout_ms
        self.timers.set(("start", run.id), limit / 1000, partial(self._start_expired, run, limit))
        self.workers.summon(run.agent, run.session)

    def _start_expired(self, run: Active, limit_ms: int) -> None:
        # A disk that takes no lease, or a supervisor that does not answer, is not the worker's fault.
        owed = limit_ms / 1000 if self.database.trouble is not None else self.workers.owed(run.session)
        if owed > 0:
            again = min(owed, limit_ms / 1000)
            return self.timers.set(("start", run.id), again, partial(self._start_expired, run, limit_ms))
        self.fail(
            run.id,
            f"the worker of agent {run.agent} did not connect within {limit_ms} ms "
            f"(agents.defaults.subagents.spawnTimeoutMs): {self.workers.cause(run.session)}",
        )

    def fail(self, run_id: str, why: str) -> None:
        """End a run that cannot be started."""
        now = self.clock()
        log.warning("run failed before it started", extra={"run": run_id, "reason": why})
        self.insist(lambda db: endings.end_unbegun(db, run_id, why, now))

    def touch(self, run_id: str | None) -> None:
        """The run gave a sign of progress."""
        if run_id and (run := self.board.get(run_id)):
            run.progress = trio.current_time()

    def tell_tool(self, run_id: str, data: dict[str, Any]) -> None:
        """The run uses a session tool, or has used it."""
        if run := self.board.get(run_id):
            self.news.tool(run, data)

    def _expire(self, run_id: str, why: str) -> None:
        now = self.clock()
        self.insist(lambda db: endings.end(db, run_id, Ending(Event.EXPIRED, error=why), now))

    def enqueue(self, run: Active) -> None:
        """Into the lanes; or it waits until its agent is held no longer. Nobody can release one that is not configured
        any more: its runs fail as they start."""
        if self.holds.why(run.agent) is not None and run.agent in self.settings.agents.entries:
            self.holds.park(run.agent, run.id)
        else:
            self.lanes.add(run.ticket)

    def unpark(self, agent: str) -> None:
        """Let an agent's parked runs queue again."""
        for run_id in self.holds.take_parked(agent):
            if run := self.board.get(run_id):
                self.enqueue(run)

    # --- losing -------------------------------------------------------------------------------------------------------

    def _worker_gone(self, seat: Seat, message: Exited) -> None:
        self.timers.clear(("let go", seat.holder.spawn))
        run = self.board.current(seat.session)
        if run is None:
            return
        if run.spawn == seat.holder.spawn:
            # A worker that left in peace and had not said a word took the run as it was about to leave: nothing was
            # begun.
            unused = message.code == 0 and not run.heard
            why = f"its worker {how_it_ended(message)}"
            repeatable = unused or endings.is_repeatable(run.agent, self.settings)
            stopped = seat.stopped or self.draining is not None
            self._lose(run, Loss(why, repeatable, over_limit=is_over_limit(message), blameless=stopped))
        elif run.state is State.STARTING:
            self.workers.summon(run.agent, run.session)

    def _lose(self, run: Active, loss: Loss) -> None:
        spawn, now = run.spawn or "", self.clock()
        log.warning("run lost its worker", extra={"run": run.id, "session": run.session, "reason": loss.why})
        self.insist(lambda db: endings.lose(db, run.id, spawn, loss, now))

    def quarantine(self, agent: str, why: str) -> None:
        """What waits for this agent waits for its release; others have the slots of what it had not begun."""
        self.holds.quarantine(agent, why)
        self.set_aside(agent)
        self.pump()

    def set_aside(self, agent: str) -> None:
        """What nobody has begun for an agent that is held now waits until it is held no longer."""
        for run in self.board.of_agent(agent):
            if run.state in (State.QUEUED, State.STARTING) and run.host is None:
                self.put_back(run)

    def put_back(self, run: Active) -> None:
        """A run nobody has begun waits again: in its lane, or for its agent."""
        self._set_back(run)
        self.enqueue(run)

    # --- small things -------------------------------------------------------------------------------------------------

    def _set_back(self, run: Active) -> None:
        """Out of its lane, its session and its worker, and not for its agent: it waits anew."""
        if run.state is State.STARTING:
            self.timers.clear(("start", run.id))
            self.workers.dismiss(run.session)
        self.overtime.end(run.id)
        self.holds.unpark(run.agent, run.id)
        self.lanes.release(run.id)
        self.board.set_back(run)
        run.state, run.host, run.spawn, run.waits = State.QUEUED, None, None, 0

    def _cap(self, lane: str) -> int:
        rules = self.settings.agents.defaults
        return caps_of(rules.max_concurrent, rules.subagents.max_concurrent)(lane)
