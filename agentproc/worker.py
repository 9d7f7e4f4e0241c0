"""The worker loop: take a run, carry it out, give it back; until idle for long, told to stop, or done with its
sub-agent's one run.

Owns: which run this process holds. A run is given back only by worker.finish; a worker that leaves without it leaves
the run to the gateway's rule for interrupted runs (another attempt if the runtime allows one)."""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

from agentproc.runtimes.base import Runtime
from agentproc.runtimes.scheduled import scheduled_command
from agentproc.turn import EndedBy, Outcome, Turn
from agentproc.uplink import Open, Uplink
from gateway.client import CallFailed, Client
from gateway.protocol.calls.worker import Assignment, Mail
from gateway.protocol.frames import Event
from gateway.protocol.keys import parse_key
from supervisor.crashpoints import crashpoint

_log = logging.getLogger("agentproc.worker")

STOP_SECONDS = 3.0
"""From SIGTERM until we leave whatever the turn does; the supervisor kills the tree after 4."""
FINISH_PATIENCE = None
"""A result refused as `retryable` (a full disk) is offered again without end, as after a lost connection: it is never
dropped. The run's own limits, and SIGTERM, end the offering."""


class Duty(msgspec.Struct, frozen=True):
    """Who this worker is: its agent, its one session, and after how many idle seconds it leaves."""

    agent: str
    session: str
    idle_seconds: float = 60.0

    @property
    def once(self) -> bool:
        """Whether the process ends with its run, as that of a sub-agent and of a single run of a cron job does."""
        key = parse_key(self.session)
        return key is not None and key.kind in ("subagent", "cron")


class Worker:
    """One worker process' work. `runtime` does the turns; `opener` and `tickets` lead to the gateway."""

    def __init__(
        self,
        duty: Duty,
        runtime: Runtime,
        opener: Open,
        tickets: Callable[[], Awaitable[str]],
        *,
        on_change: Callable[[bool, str], None] = lambda connected, why: None,
    ) -> None:
        self._duty = duty
        self._runtime = runtime
        self._turn: Turn | None = None
        self._handed: Assignment | None = None
        self._stopping = False
        self._waiting: trio.CancelScope | None = None
        self._uplink = Uplink(opener, tickets, greet=self._greet, hear=self._hear, on_change=on_change)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until there is a reason to leave. Listens to SIGTERM from the moment it reports started."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_on_signal, signals, nursery.cancel_scope)
                nursery.start_soon(self._uplink.serve)
                task_status.started()
                await self._work()
                nursery.cancel_scope.cancel()

    async def _work(self) -> None:
        while not self._stopping:
            assignment = await self._next()
            if assignment is None:
                return
            await self._carry_out(assignment)
            if self._duty.once and self._handed is None:
                return

    async def _next(self) -> Assignment | None:
        """The next run, or None when there was none for `idle_seconds` or we are to stop."""
        if self._handed is not None:
            assignment, self._handed = self._handed, None
            return assignment
        with trio.move_on_after(self._duty.idle_seconds) as self._waiting:
            return parse_assignment(await self._uplink.call("worker.next", {}))
        return None

    async def _carry_out(self, assignment: Assignment) -> None:
        turn = self._turn = Turn(self._uplink, self._duty.agent, self._duty.session, assignment)
        try:
            outcome = await turn.carry_out(scheduled_command(assignment.provenance) or self._runtime)
            if outcome is not None and turn.ended_by is not EndedBy.ABANDONED:
                await self._finish(turn, outcome)
        finally:
            self._turn = None

    async def _finish(self, turn: Turn, outcome: Outcome) -> None:
        report = {
            "runId": turn.run_id, "attempt": turn.attempt, "status": outcome.status, "text": outcome.text,
            "error": outcome.error, "unread": turn.inbox.unread(),
        }  # fmt: skip
        crashpoint("worker.finish.before")
        try:
            await self._uplink.call("worker.finish", report, patience=FINISH_PATIENCE)
            crashpoint("worker.finish.after")
        except CallFailed as failed:
            # The run was ended without us (aborted, timed out, given to another attempt): what it came to is not
            # wanted.
            _log.warning("result of run %s refused: %s", turn.run_id, failed)

    async def _greet(self, client: Client) -> None:
        """After a reconnect in the middle of a run: ask whether it is still ours."""
        turn = self._turn
        if turn is None:
            return
        holding = {"holding": turn.run_id, "attempt": turn.attempt, "acked": turn.outbox.acked}
        answer = parse_assignment(await client.call("worker.next", holding))
        if answer.run_id == turn.run_id and answer.resumed:
            turn.take_mails(answer.steered)
            return
        turn.end(EndedBy.ABANDONED, "the gateway gave the run up while it was away")
        if not answer.abandoned:
            self._handed = answer

    def _hear(self, event: Event) -> None:
        payload: dict[str, Any] = event.payload if isinstance(event.payload, dict) else {}
        turn = self._turn
        if turn is None or payload.get("runId") != turn.run_id:
            return
        match event.event:
            case "worker.abort":
                turn.end(EndedBy(payload.get("status", "aborted")), str(payload.get("reason") or ""))
            case "worker.steer":
                turn.take_mails(msgspec.convert(payload.get("mails", []), tuple[Mail, ...]))

    async def _stop_on_signal(self, signals: Any, everything: trio.CancelScope) -> None:
        async for _ in signals:
            self._stopping = True
            everything.deadline = trio.current_time() + STOP_SECONDS
            if self._turn is not None:
                self._turn.end(EndedBy.STOP, "the worker is to stop")
            if self._waiting is not None:
                self._waiting.cancel()


def parse_assignment(payload: object) -> Assignment:
    """What worker.next answered. Raises msgspec.ValidationError for a gateway that speaks otherwise."""
    return msgspec.convert(payload, Assignment)
