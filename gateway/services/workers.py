"""Which worker processes there are: asked for, connected, busy, gone.

Owns the seats. One worker process per session at work; a worker that is connected and idle is used before another is
asked for. Only a process that lives has a seat: what is still heard of one whose end was told makes none."""

from __future__ import annotations

import logging
import re
import signal
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import trio

from gateway.control import SpawnRefused
from gateway.services.ports import Peer, Publisher, Supervisor, WorkerIdentity
from gateway.services.timers import Timers
from gateway.services.turns import Holder
from supervisor.crashpoints import crashpoint
from supervisor.messages import Exited

log = logging.getLogger("gateway.workers")

FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 5.0
"""Waits between attempts to start a worker double from the first to the last; the run's own deadline ends them."""
ASK_SECONDS = 15.0
"""How long a connected worker may leave a run of its session unasked for; then it is ended, and another comes. Above
what a worker that lost its connection may need to be greeted again (agentproc.uplink.HELLO_SECONDS)."""
STOP_GRACE_SECONDS = 2.0
MAX_EXITS = 256
"""Exits remembered. What may still be heard of a dead worker (the answer to a spawn, the rest of a greeting, a call
that was read before its connection was ended) is heard a turn of the event loop or two later: a few would do."""

LIMIT = re.compile(r"(agents\.\S+\.)?limits\.\w+: ")
"""How a reason begins that names a limit."""


class Seat(msgspec.Struct, eq=False):
    """One worker process. `holds`: the run in its hands, also one that was ended and that it has not let go of yet.
    `stopped`: its end was asked for. `gone`: its process has ended. `wake` ends the wait of its worker.next; `turn` is
    the newest such call, None while it makes none; `heard` is when it last connected or ended one (trio's clock)."""

    holder: Holder
    agent: str
    session: str
    connection: Peer | None = None
    met: bool = False
    holds: str | None = None
    stopped: bool = False
    gone: bool = False
    wake: trio.Event = msgspec.field(default_factory=trio.Event)
    turn: object = None
    heard: float = 0.0

    def post(self, event: str, payload: dict[str, Any]) -> None:
        """Tell the worker; one that is away hears it when it comes back (worker.next)."""
        if self.connection is not None:
            self.connection.post_event(event, payload)


class Coming(msgspec.Struct, eq=False):
    """A worker that has been asked for; `cause` is why it is not there yet. `asked`: since when the supervisor owes an
    answer (trio's clock)."""

    cause: str = "the supervisor has not answered yet"
    asked: float | None = None
    scope: trio.CancelScope = msgspec.field(default_factory=trio.CancelScope)


class Workers:
    """Seats by spawn and by session. `gone` hears of a seat whose process ended, `refused` that an agent is in
    quarantine."""

    def __init__(
        self,
        supervisor: Supervisor,
        hub: Publisher,
        nursery: trio.Nursery,
        timers: Timers,
        gone: Callable[[Seat, Exited], None],
        refused: Callable[[str, str], None],
    ) -> None:
        self._supervisor = supervisor
        self._hub = hub
        self._nursery = nursery
        self._timers = timers
        self._gone = gone
        self._refused = refused
        self._seats: dict[str, Seat] = {}
        self._by_session: dict[str, Seat] = {}
        self._coming: dict[str, Coming] = {}
        self._owed: dict[str, float] = {}
        self._failures: dict[str, tuple[int, str]] = {}
        self._exits: OrderedDict[str, Exited] = OrderedDict()

    # --- connections --------------------------------------------------------------------------------------------------

    def attach(self, connection: Peer, principal: WorkerIdentity) -> Seat:
        """A worker's connection; its newest one counts. Called when it says hello, and again by every worker.* call.

        Its end may have been told before: the supervisor says so as soon as it knows, and what the worker had said or
        was about to be answered is followed a moment later. Such a worker is known to nobody else: a place among the
        living would be one nobody ever leaves, and its session would wait for it."""
        holder = Holder(principal.spawn or "", principal.pid, principal.start or 0)
        agent, session = principal.agent or "", principal.session or ""
        if holder.spawn in self._exits:
            return Seat(holder, agent, session, gone=True)
        seat = self._seats.get(holder.spawn) or self._sit(holder, agent, session)
        if seat.connection is not connection:
            seat.connection, seat.heard = connection, trio.current_time()
            self._failures.pop(seat.session, None)
        if not seat.met:
            seat.met = True
            self._tell(seat, "connected")
        return seat

    def detach(self, connection: Peer, principal: WorkerIdentity) -> None:
        """That connection closed. The worker may come back; only `exited` ends it."""
        seat = self._seats.get(principal.spawn or "")
        if seat is not None and seat.connection is connection:
            seat.connection = None

    def exited(self, message: Exited) -> None:
        """The process and its whole tree are gone."""
        self._exits[message.spawn] = message
        while len(self._exits) > MAX_EXITS:
            self._exits.popitem(last=False)
        seat = self._seats.pop(message.spawn, None)
        if seat is None:
            return
        seat.gone = True
        if self._by_session.get(seat.session) is seat:
            del self._by_session[seat.session]
        if seat.met:
            self._owed.pop(seat.session, None)
        else:
            count, _ = self._failures.get(seat.session, (0, ""))
            self._failures[seat.session] = (count + 1, f"the worker {how_it_ended(message)} before it connected")
        self._tell(seat, "exited", exit=how_it_ended(message))
        self._gone(seat, message)

    # --- looking ------------------------------------------------------------------------------------------------------

    def seat(self, spawn: str | None) -> Seat | None:
        """The worker of a spawn, if it is alive."""
        return self._seats.get(spawn or "")

    def all_of_agent(self, agent: str) -> list[Seat]:
        """An agent's live workers."""
        return [seat for seat in self._seats.values() if seat.agent == agent]

    def connected(self) -> int:
        """How many workers have a connection."""
        return sum(1 for seat in self._seats.values() if seat.connection is not None)

    def of_agent(self, agent: str) -> int:
        """How many live workers an agent has."""
        return len(self.all_of_agent(agent))

    def cause(self, session: str) -> str:
        """Why a session has no worker that would take its run."""
        seat = self._by_session.get(session)
        if seat is not None and seat.holds:
            return f"its worker (pid {seat.holder.pid}) has not let go of the run {seat.holds} yet"
        if seat is not None and seat.met:
            return f"its worker (pid {seat.holder.pid}) is connected but asks for no run"
        if seat is not None:
            return f"its worker (pid {seat.holder.pid}) was started and has not connected"
        coming = self._coming.get(session)
        failed = self._failures.get(session)
        return coming.cause if coming else failed[1] if failed else "no worker was asked for"

    def owed(self, session: str) -> float:
        """Seconds that went by because the supervisor owed an answer about the worker this session waits for, each told
        once. It may be stopped, or busy: its time is not the worker's."""
        coming = self._coming.get(session)
        if coming is not None and coming.asked is not None:
            self._note_owed(session, coming)
            coming.asked = trio.current_time()
        return self._owed.pop(session, 0.0)

    def _note_owed(self, session: str, coming: Coming) -> None:
        if coming.asked is not None and self._coming.get(session) is coming:
            self._owed[session] = self._owed.get(session, 0.0) + trio.current_time() - coming.asked
        coming.asked = None

    # --- bringing one -------------------------------------------------------------------------------------------------

    def summon(self, agent: str, session: str) -> None:
        """See to it that a worker comes for this session: wake the one there is, else ask for one."""
        seat = self._by_session.get(session)
        if seat is not None:
            seat.wake.set()
            self._watch(session, ASK_SECONDS)
        elif session not in self._coming:
            self._coming[session] = Coming()
            self._nursery.start_soon(self._bring, agent, session, self._coming[session])

    def dismiss(self, session: str) -> None:
        """No worker is needed there any more. One that comes nevertheless finds nothing to do and leaves by itself."""
        self._failures.pop(session, None)
        self.asked(session)
        coming = self._coming.pop(session, None)
        if coming is not None:
            coming.scope.cancel()

    def asked(self, session: str) -> None:
        """The run it was summoned for is in its hands, or not wanted any more."""
        self._timers.clear(("ask", session))
        self._owed.pop(session, None)

    def _watch(self, session: str, seconds: float) -> None:
        self._timers.set(("ask", session), seconds, partial(self._unasked, session))

    def _unasked(self, session: str) -> None:
        """A worker that is there and asks for nothing is broken in a way only its end mends."""
        seat = self._by_session.get(session)
        if seat is None:
            return
        left = seat.heard + ASK_SECONDS - trio.current_time()
        # One that asks and is given nothing waits for the disk; one that never connected has the deadline of the run.
        if left > 0 or seat.turn is not None or not seat.met:
            return self._watch(session, left if left > 0 else ASK_SECONDS)
        why = f"it asked for no run within {ASK_SECONDS:.0f} s while one waited for it"
        log.warning("worker ended", extra={"agent": seat.agent, "session": session, "reason": why})
        seat.stopped = True
        self._supervisor.stop_worker(seat.holder.spawn, why, STOP_GRACE_SECONDS)

    def remember(self, holder: Holder, agent: str, session: str, holds: str | None) -> None:
        """A worker that was alive before this gateway was."""
        seat = self._sit(holder, agent, session)
        seat.holds = holds

    async def _bring(self, agent: str, session: str, coming: Coming) -> None:
        try:
            with coming.scope:
                failures, why = self._failures.get(session, (0, ""))
                if failures:
                    coming.cause = why
                    await trio.sleep(_retry_seconds(failures - 1))
                await self._ask_until_there(agent, session, coming)
        finally:
            self._forget(session, coming)

    def _forget(self, session: str, coming: Coming) -> None:
        if self._coming.get(session) is coming:
            del self._coming[session]

    async def _ask_until_there(self, agent: str, session: str, coming: Coming) -> None:
        tries = 0
        while session not in self._by_session:
            try:
                crashpoint("gateway.spawn.before")
                coming.asked = trio.current_time()
                try:
                    born = await self._supervisor.spawn(agent, session)
                finally:
                    self._note_owed(session, coming)
            except SpawnRefused as refusal:
                coming.cause = refusal.reason
                if refusal.quarantined:
                    return self._refused(agent, refusal.reason)
                log.warning("no worker yet", extra={"agent": agent, "session": session, "reason": refusal.reason})
                await trio.sleep(_retry_seconds(tries))
                tries += 1
                continue
            # Without a checkpoint between the answer and the seat: an exit that follows must find it.
            seat = self._seats.get(born.spawn) or self._sit(Holder(born.spawn, born.pid, born.start), agent, session)
            self._tell(seat, "spawned")
            early = self._exits.get(born.spawn)
            if early is not None:
                self._forget(session, coming)  # so that whoever hears of the exit can ask again
                self.exited(early)
            return

    def _sit(self, holder: Holder, agent: str, session: str) -> Seat:
        seat = self._seats[holder.spawn] = Seat(holder, agent, session)
        self._by_session[session] = seat
        return seat

    def _tell(self, seat: Seat, state: str, **more: Any) -> None:
        payload = {"kind": "worker", "pid": seat.holder.pid, "start": seat.holder.start, "agentId": seat.agent}
        self._hub.publish(
            "process", {**payload, "sessionKey": seat.session, "state": state, **more}, session=seat.session
        )


def how_it_ended(message: Exited) -> str:
    """An exit in words."""
    how = f"was ended by signal {message.signal}" if message.signal is not None else f"exited with code {message.code}"
    if message.signal == signal.SIGXCPU:
        how = "used up its processor time"
    return f"{how} ({message.reason})" if message.reason else how


def is_over_limit(message: Exited) -> bool:
    """Whether a worker was ended for a limit: then the reason begins with its key."""
    return message.signal == signal.SIGXCPU or LIMIT.match(message.reason) is not None


def _retry_seconds(tries: int) -> float:
    return min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(tries, 10))
