"""The runtime of agents that are any program: the message on standard input, the reply on standard output.

`protocol: "text"`: standard input is the message and then ends; standard output is the reply, and is said as it comes
(see `agentproc.runtimes.speech`). `protocol: "jsonl"`: one JSON object per line both ways (see
`agentproc.runtimes.jsonl`). What it writes to standard error goes to the log. An exit code other than 0 fails the run.
The program finds the gateway by PEERGATE_SOCKET, and `peergate send` in it acts as this agent's session."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

import msgspec
import trio

from agentproc.context import Context
from agentproc.failure import cut
from agentproc.limits import MOST_OUTPUT_BYTES, key_of, output_limit
from agentproc.runtimes.base import TurnFailed, TurnTimedOut
from agentproc.runtimes.jsonl import Conversation
from agentproc.runtimes.process import Program, open_program
from agentproc.runtimes.speech import Speech, reply_of

TAIL_CHARS = 1500


class CommandRuntime(msgspec.Struct, frozen=True):
    """Runs `argv` once per turn. `output_bytes` bounds what it may write to standard output."""

    argv: tuple[str, ...]
    cwd: str | None = None
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    timeout_seconds: float | None = None
    protocol: str = "text"
    output_bytes: int = MOST_OUTPUT_BYTES

    @classmethod
    def configured(cls, spec: Mapping[str, Any], output_bytes: int | None = None) -> CommandRuntime:
        """From an agent's `runtime` section."""
        return cls(
            tuple(spec["argv"]), spec.get("cwd"), spec.get("env") or {}, spec.get("timeoutSeconds") or None,
            spec.get("protocol") or "text", min(output_bytes or MOST_OUTPUT_BYTES, MOST_OUTPUT_BYTES),
        )  # fmt: skip

    async def run_turn(self, ctx: Context) -> str | None:
        """Run the program. Raises TurnFailed with its last words, TurnTimedOut after `timeout_seconds`."""
        reply = None
        with trio.CancelScope(deadline=trio.current_time() + (self.timeout_seconds or float("inf"))) as limit:
            reply = await self._run(ctx)
        if limit.cancelled_caught:
            key = f"agents.entries.{ctx.agent_id}.runtime.timeoutSeconds"
            raise TurnTimedOut(f"{self.argv[0]} did not finish within {self.timeout_seconds:g} s ({key})")
        return reply

    async def _run(self, ctx: Context) -> str | None:
        failure: TurnFailed | None = None
        reply: str | None = None
        async with open_program(self.argv, cwd=self.cwd, env=self._environment(ctx)) as program:
            try:
                reply, code = await self._converse(ctx, program)
            except TurnFailed as failed:  # raised again outside: the block's nursery would wrap it
                failure, code = failed, 0
        if failure is not None:
            raise failure
        if code:
            raise TurnFailed(ended_badly(self.argv[0], code, program.tail or reply or ""))
        return reply

    async def _converse(self, ctx: Context, program: Program) -> tuple[str | None, int]:
        """What it answered and its exit code."""
        if self.protocol != "jsonl":
            return await self._converse_in_text(ctx, program)
        conversation = Conversation(ctx, program, self.output_bytes)
        reply, code = await conversation.hold(), await program.wait()
        if code == 0 and conversation.unsettled:
            raise TurnFailed(f'{self.argv[0]} ended without saying how "{conversation.unsettled[0]}" ended')
        return reply, code

    async def _converse_in_text(self, ctx: Context, program: Program) -> tuple[str | None, int]:
        speech, code = Speech(ctx), None
        try:
            reply, code = await self._exchange_text(ctx.message, program, speech), await program.wait()
        finally:
            if code != 0:  # it failed, or the turn is cut short: what it printed is all there will be
                await speech.flush()
        return reply or None, code

    async def _exchange_text(self, message: str, program: Program, speech: Speech) -> str:
        output = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed, program, message.encode())
            nursery.start_soon(speech.serve)
            while len(output) <= self.output_bytes and (chunk := await program.read()):
                speech.hear(chunk[: self.output_bytes - len(output)])
                output += chunk
            nursery.cancel_scope.cancel()
        if len(output) > self.output_bytes:
            limit = output_limit(self.output_bytes)
            raise TurnFailed(f"{self.argv[0]} wrote more than {limit}; it was ended")
        return reply_of(output)

    def _environment(self, ctx: Context) -> dict[str, str]:
        own = {"PEERGATE_AGENT": ctx.agent_id, "PEERGATE_SESSION": ctx.session_key, "PEERGATE_RUN": ctx.run_id}
        return {**os.environ, **self.env, **own}


async def feed(program: Program, data: bytes) -> None:
    """Write all of standard input and close it. A program that does not read it is no error."""
    try:
        await program.stdin.send_all(data)
    except trio.BrokenResourceError:
        return
    finally:
        await trio.aclose_forcefully(program.stdin)


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most realtime signals have none
        return f"signal {number}"


def ended_badly(name: str, code: int, last_words: str) -> str:
    """How a program ended, in words that show the last of its own."""
    how = f"exited with code {code}" if code > 0 else f"was ended by {_name_of(-code)}"
    if code == -signal.SIGXCPU:
        how += f" ({key_of('cpuSeconds')})"
    words = cut(last_words[-TAIL_CHARS:])
    return f"{name} {how}" + (f"; its last lines:\n{words}" if words else "; it wrote nothing")
