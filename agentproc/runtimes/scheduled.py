"""The runtime of one turn that is a program of a cron job, whatever the agent's own runtime is.

Owns what such a turn is: the program of the job, run by this worker (so with the agent's uid and limits), its output
the reply. It is written down before it is started and after, as an action that is not repeated: when the worker dies in
the middle the run is interrupted, and an operator decides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
import trio

from agentproc.context import ActionFailed, Context
from agentproc.runtimes.base import TurnFailed, TurnTimedOut
from agentproc.runtimes.command import ended_badly, feed
from agentproc.runtimes.process import Program, open_program
from agentproc.runtimes.speech import Speech, reply_of

DEFAULT_OUTPUT_BYTES = 48 * 1024
MOST_KEPT_CHARS = 48 * 1024
"""Of the output, in the record of the action."""
CUT = "\n[cut here: the program wrote more than outputMaxBytes]"


def scheduled_command(provenance: Mapping[str, Any]) -> ScheduledCommand | None:
    """The program a turn is, when the gateway says that it is one of a cron job's."""
    given = provenance.get("command")
    ours = provenance.get("kind") == "internal_system" and provenance.get("sourceTool") == "cron"
    if not ours or not isinstance(given, Mapping):
        return None
    return ScheduledCommand(
        tuple(given["argv"]), given.get("cwd"), given.get("env") or {}, given.get("input") or "",
        given.get("timeoutSeconds") or None, given.get("noOutputTimeoutSeconds") or None,
        given.get("outputMaxBytes") or DEFAULT_OUTPUT_BYTES,
    )  # fmt: skip


class ScheduledCommand(msgspec.Struct, frozen=True):
    """Runs `argv` once. `output_bytes` bounds what is kept of its output; the rest is read and dropped."""

    argv: tuple[str, ...]
    cwd: str | None = None
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    input: str = ""
    timeout_seconds: float | None = None
    silence_seconds: float | None = None
    output_bytes: int = DEFAULT_OUTPUT_BYTES

    async def run_turn(self, ctx: Context) -> str | None:
        """Run the program. Raises TurnFailed with its last words, TurnTimedOut."""
        failure: TurnFailed | None = None

        async def action() -> str:
            nonlocal failure
            try:
                return await self._within_its_time(ctx)
            except TurnFailed as failed:
                failure = failed  # as it is: the record has only its words
                raise

        try:
            return await ctx.once(f"cron {self.argv[0]}"[:200], action) or None
        except ActionFailed as failed:
            raise TurnFailed(str(failed)) from None
        except TurnFailed:
            assert failure is not None
            raise failure from None

    async def _within_its_time(self, ctx: Context) -> str:
        reply = ""
        with trio.CancelScope(deadline=trio.current_time() + (self.timeout_seconds or float("inf"))) as limit:
            reply = await self._run(ctx)
        if limit.cancelled_caught:
            raise TurnTimedOut(f"{self.argv[0]} did not finish within {self.timeout_seconds:g} s (timeoutSeconds)")
        return reply

    async def _run(self, ctx: Context) -> str:
        failure: TurnFailed | None = None
        reply, code = "", 0
        own = {"PEERGATE_AGENT": ctx.agent_id, "PEERGATE_SESSION": ctx.session_key, "PEERGATE_RUN": ctx.run_id}
        async with open_program(self.argv, cwd=self.cwd, env={**os.environ, **self.env, **own}) as program:
            try:
                reply, code = await self._converse(ctx, program)
            except TurnFailed as failed:  # raised again outside: the block's nursery would wrap it
                failure = failed
        if failure is not None:
            raise failure
        if code:
            raise TurnFailed(ended_badly(self.argv[0], code, program.tail or reply))
        return reply

    async def _converse(self, ctx: Context, program: Program) -> tuple[str, int]:
        speech, code = Speech(ctx), None
        try:
            reply, code = await self._exchange(program, speech), await program.wait()
        finally:
            if code != 0:
                await speech.flush()
        return reply, code

    async def _exchange(self, program: Program, speech: Speech) -> str:
        output, more = bytearray(), False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(feed, program, self.input.encode()))
            nursery.start_soon(speech.serve)
            while chunk := await self._read(program):
                kept = chunk[: self.output_bytes - len(output)]
                more = more or len(kept) < len(chunk)
                output += kept
                speech.hear(kept)
            nursery.cancel_scope.cancel()
        if chunk is None:
            raise TurnTimedOut(f"{self.argv[0]} wrote nothing for {self.silence_seconds:g} s (noOutputTimeoutSeconds)")
        text = reply_of(output)
        return text[:MOST_KEPT_CHARS] + (CUT if more or len(text) > MOST_KEPT_CHARS else "")

    async def _read(self, program: Program) -> bytes | None:
        """More output; nothing at its end, None when it was silent for too long."""
        with trio.move_on_after(self.silence_seconds or float("inf")):
            return await program.read()
        return None
