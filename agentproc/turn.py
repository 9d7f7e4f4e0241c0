"""One attempt of one run: what carries out the wishes of its context, and how it ended.

Owns: the run's journal, outbox and inbox, and the one cancel scope everything of the turn runs in. Whoever ends a turn
says why first; `ended_by` is the reason that counted."""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import trio

from agentproc.context import Begun, Context, ToolRefused
from agentproc.failure import describe
from agentproc.inbox import Inbox, Message
from agentproc.journal import Journal, canonical, did_nothing
from agentproc.outbox import Outbox
from agentproc.results import finished_in
from agentproc.runtimes.base import Runtime, TurnFailed, TurnTimedOut
from agentproc.uplink import Uplink
from gateway.client import CallFailed
from gateway.protocol.calls.worker import Assignment, Mail
from supervisor.crashpoints import crashpoint, wall_clock

_log = logging.getLogger("agentproc.turn")

TOOL_PATIENCE = 30.0
"""Seconds a tool call refused as `retryable` is tried again (the gateway may be draining). A lost connection has no
limit."""
CLOSE_SECONDS = 1.0
"""How long a cancelled turn waits to tell how an action ended."""
MAX_REPLY_BYTES = 960 * 1024
"""What fits a worker's frame (1 MiB) beside the rest of the call."""


class EndedBy(enum.Enum):
    """Why a turn was cancelled."""

    ABORT = "aborted"
    DEADLINE = "timed_out"
    ABANDONED = "abandoned"
    STOP = "stopped"


class Outcome(msgspec.Struct, frozen=True):
    """How a turn ended; `status` is a word of worker.finish."""

    status: str
    text: str | None = None
    error: str | None = None


class Turn:
    """An assignment being carried out for one session."""

    def __init__(self, uplink: Uplink, agent_id: str, session_key: str, assignment: Assignment) -> None:
        self.run_id = assignment.run_id
        self.attempt = assignment.attempt
        self.inbox = Inbox()
        self.outbox = Outbox()
        self.ended_by: EndedBy | None = None
        self._why = ""
        self._uplink = uplink
        self._journal = Journal(assignment.run_id)
        self._said = trio.Event()
        self._emitting = trio.Lock()
        self._scope = trio.CancelScope()
        self._steered = False
        self._deadline = None if assignment.deadline_ms is None else assignment.deadline_ms / 1000
        self._warn_at = None if assignment.warn_ms is None else assignment.warn_ms / 1000
        self.take_mails(assignment.steered)
        self._context = Context(
            self, message=assignment.message, provenance=assignment.provenance, agent_id=agent_id,
            session_key=session_key, run_id=assignment.run_id, attempt=assignment.attempt, deadline=self._deadline,
            state=assignment.state,
        )  # fmt: skip

    # --- from the gateway ---------------------------------------------------------------------------------------------

    def take_mails(self, mails: Sequence[Mail]) -> None:
        """Messages for the turn; those it has had are ignored."""
        for mail in mails:
            self.inbox.put(Message(mail.message, mail.provenance, mail.id))

    def end(self, by: EndedBy, why: str = "") -> None:
        """Cancel the turn; the first reason counts."""
        if self.ended_by is None:
            self.ended_by, self._why = by, why
            self._scope.cancel()

    # --- for the context ----------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Tell progress."""
        self.outbox.add("assistant", speakable(text), now_ms())
        self._said.set()

    async def invoke(self, tool: str, args: dict[str, Any]) -> dict[str, Any]:
        """Call a tool; the key makes a repeated call the same call. Raises ToolRefused."""
        args = canonical(args)
        call = {"name": tool, "args": args, "idempotencyKey": self._journal.key(tool, args)}
        crashpoint("worker.call.before")
        result: dict[str, Any] = await self._ask("tools.invoke", call)
        crashpoint("worker.call.after")
        if did_nothing(tool, result):
            self._journal.forget(tool, args)
        self.inbox.withdraw(finished_in(tool, result))
        return result

    async def set_steering(self, open: bool) -> None:
        """Open or close the steer channel. When closing is answered, every message the gateway counts as given to this
        turn has arrived. What is cancelled before that is closed at the end of the turn."""
        if open:
            self._steered = True  # even if no answer comes
            await self._ask("worker.steering", {"runId": self.run_id, "open": True})
            return
        try:
            await self._ask("worker.steering", {"runId": self.run_id, "open": False})
            self._steered = False
        except ToolRefused as refused:
            _log.warning("steer channel not closed: %s", refused)

    async def _close_steering(self) -> None:
        """A message may be on its way that this turn does not know of: to finish before it is here would tell the
        gateway that it was read."""
        if not self._steered:
            return
        try:
            await self._uplink.call("worker.steering", {"runId": self.run_id, "open": False})
        except CallFailed as failed:
            _log.warning("steer channel not closed: %s", failed)  # the run is not ours any more, nor is its end

    async def save_state(self, state: dict[str, Any]) -> None:
        """Keep the session's state. Raises ToolRefused when it is too large."""
        await self._ask("worker.state", {"runId": self.run_id, "state": state})

    async def begin(self, name: str, effect: str) -> Begun:
        """Note that an action begins. Raises ToolRefused; then it must not be done."""
        call = self._journal.action(name)
        note = {"runId": self.run_id, "attempt": self.attempt, "call": call, "name": name, "effect": effect}
        known = await self._ask("worker.effect", note)
        return Begun(call, name, effect, known["state"], known.get("result"))

    async def settle(self, begun: Begun, state: str, result: Any) -> None:
        """Note how an action ended; also when the turn is being cancelled, for else nobody would know."""
        note = {
            "runId": self.run_id, "attempt": self.attempt, "call": begun.call, "name": begun.name,
            "effect": begun.effect, "state": state, "result": result,
        }  # fmt: skip
        try:
            await self._ask("worker.effect", note)
        except trio.Cancelled:
            with trio.CancelScope(shield=True) as settling:
                settling.deadline = trio.current_time() + CLOSE_SECONDS
                try:
                    await self._ask("worker.effect", note)
                except ToolRefused as refused:
                    _log.warning("how %s ended was not noted: %s", begun.name, refused)
            raise

    async def wait_time_is_short(self) -> None:
        """Wait for the warning before the deadline; for ever when there is none."""
        await trio.sleep(math.inf if self._warn_at is None else max(0.0, self._warn_at - wall_clock()))

    async def _ask(self, method: str, params: dict[str, Any]) -> Any:
        try:
            return await self._uplink.call(method, params, patience=TOOL_PATIENCE)
        except CallFailed as failed:
            raise ToolRefused(failed.code, failed.message, failed.details) from None

    # --- its life -----------------------------------------------------------------------------------------------------

    async def carry_out(self, runtime: Runtime) -> Outcome | None:
        """Run the turn to its end and get its progress on disk. None: not ours to finish (abandoned, or the worker is
        to stop and the gateway's rule for interrupted runs applies)."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._emit_forever)
            outcome = await self._attempt(runtime)
            if self.ended_by is not EndedBy.ABANDONED:
                await self._flush()
                if outcome is not None:
                    await self._close_steering()
            nursery.cancel_scope.cancel()
        return outcome

    async def _attempt(self, runtime: Runtime) -> Outcome | None:
        left = math.inf if self._deadline is None else self._deadline - wall_clock()
        self._scope.deadline = trio.current_time() + left
        try:
            with self._scope:
                return _checked(await runtime.run_turn(self._context))
        except TurnTimedOut as failed:
            return Outcome("timed_out", error=str(failed))
        except TurnFailed as failed:
            if self.ended_by is None and not self._scope.cancelled_caught:
                return Outcome("failed", error=speakable(str(failed)))
            _log.warning("failed while being ended: %s", failed)
        except (Exception, BaseExceptionGroup) as error:
            # What a turn raised on its way out of a cancelled scope, from more than one task.
            _log.exception("turn broke while being ended")
            if self.ended_by is None and not self._scope.cancelled_caught:
                return Outcome("failed", error=speakable(describe(error)))
        return self._cut_short()

    def _cut_short(self) -> Outcome | None:
        match self.ended_by or EndedBy.DEADLINE:
            case EndedBy.ABORT:
                return Outcome("aborted", error=self._why or "aborted")
            case EndedBy.DEADLINE:
                return Outcome("timed_out")  # which limit that was, the gateway knows
            case EndedBy.ABANDONED | EndedBy.STOP:
                return None

    async def _flush(self) -> None:
        while len(self.outbox):
            async with self._emitting:
                await self._emit_once()

    async def _emit_forever(self) -> None:
        while True:
            await self._said.wait()
            self._said = trio.Event()
            await self._flush()

    async def _emit_once(self) -> None:
        batch = self.outbox.batch()
        if batch is None:
            return
        last = batch.seq + len(batch.events) - 1
        report = {"runId": self.run_id, "attempt": self.attempt, "seq": batch.seq, "events": batch.events}
        crashpoint("worker.emit.before")
        try:
            await self._uplink.call("worker.emit", report)
        except CallFailed as failed:
            # The gateway will never take these; what they told is lost, the run is not.
            _log.error("%d progress events refused: %s", len(batch.events), failed)
        crashpoint("worker.emit.after")
        self.outbox.acknowledge(last)
        self.outbox.say_what_was_dropped(now_ms())


def _checked(text: object) -> Outcome:
    if text is None:
        return Outcome("done")
    if not isinstance(text, str):
        return Outcome("failed", error=f"the turn returned {type(text).__name__}; it must return str or None")
    text = speakable(text)
    if (size := len(text.encode())) > MAX_REPLY_BYTES:
        wrong = f"a reply of {size} bytes, at most {MAX_REPLY_BYTES} fit: write a file and reply with its path"
        return Outcome("failed", error=wrong)
    return Outcome("done", text)


def speakable(text: str) -> str:
    """Text that can be UTF-8: lone surrogates (from undecodable file names) are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def now_ms() -> float:
    """Milliseconds since the epoch."""
    return wall_clock() * 1000
