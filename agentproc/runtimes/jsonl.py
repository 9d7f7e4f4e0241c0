"""The conversation with a program that speaks JSON lines: one object per line, UTF-8, both ways.

To the program, first: `{"message", "provenance", "agentId", "sessionKey", "runId", "attempt", "deadlineMs"?}`. From the
program: `{"say": text}` tells progress; `{"invoke": {"tool", "args", "id"}}` uses a session tool and is answered by a
line `{"id", "ok": true, "result"}` or `{"id", "ok": false, "error": {"code", "message"}}`; `{"reply": text}` is the
reply (the last one counts). It ends by closing its standard output."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import trio

from agentproc.context import Context, ToolRefused
from agentproc.runtimes.base import TurnFailed
from agentproc.runtimes.process import READ_BYTES, Program

MAX_TOOL_CALLS = 16
"""Tool calls of one program that may wait at once; the next line is read when one is answered."""


class Conversation:
    """One turn's worth of lines. `output_bytes` bounds one line, and the reply."""

    def __init__(self, ctx: Context, program: Program, output_bytes: int) -> None:
        self._ctx = ctx
        self._program = program
        self._limit = output_bytes
        self._reply: str | None = None
        self._calls = trio.Semaphore(MAX_TOOL_CALLS)
        self._writing = trio.Lock()

    async def hold(self) -> str | None:
        """Talk until the program has nothing more to say. Raises TurnFailed when it breaks the rules."""
        failure: TurnFailed | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, self._opening())
            try:
                with trio.CancelScope() as reading:
                    nursery.start_soon(self._program.end_after_exit, reading)
                    await self._listen(nursery)
            except TurnFailed as failed:  # raised again outside: the nursery would wrap it
                failure = failed
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return self._reply

    def _opening(self) -> dict[str, Any]:
        ctx = self._ctx
        opening = {
            "message": ctx.message, "provenance": dict(ctx.provenance), "agentId": ctx.agent_id,
            "sessionKey": ctx.session_key, "runId": ctx.run_id, "attempt": ctx.attempt,
        }  # fmt: skip
        return opening if ctx.deadline is None else {**opening, "deadlineMs": int(ctx.deadline * 1000)}

    async def _listen(self, nursery: trio.Nursery) -> None:
        buffer = b""
        while chunk := await self._program.stdout.receive_some(READ_BYTES):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                await self._take(nursery, line)
            if len(buffer) > self._limit:
                raise TurnFailed(f"the program wrote a line of more than {self._limit} bytes (limits.outputBytes)")
        await self._take(nursery, buffer)

    async def _take(self, nursery: trio.Nursery, line: bytes) -> None:
        if not line.strip():
            return
        match _parse(line):
            case {"say": str(text)}:
                await self._ctx.say(text)
            case {"reply": str(text)}:
                self._reply = text
            case {"invoke": {"tool": str(tool), **rest}} if isinstance(args := rest.get("args", {}), dict):
                await self._calls.acquire()
                nursery.start_soon(partial(self._invoke, tool, args, rest.get("id")))
            case _:
                raise TurnFailed(f"the program wrote a line that is neither say, invoke nor reply: {_shown(line)}")

    async def _invoke(self, tool: str, args: dict[str, Any], id: object) -> None:
        try:
            answer = {"id": id, "ok": True, "result": await self._ctx.invoke(tool, args)}
        except ToolRefused as refused:
            answer = {"id": id, "ok": False, "error": {"code": refused.code, "message": str(refused)}}
        finally:
            self._calls.release()
        await self._write(answer)

    async def _write(self, value: object) -> None:
        async with self._writing:
            try:
                await self._program.stdin.send_all(json.dumps(value).encode() + b"\n")
            except trio.BrokenResourceError:
                return  # it does not want to know


def _parse(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise TurnFailed(f"the program wrote a line that is no JSON: {_shown(line)}") from None


def _shown(line: bytes) -> str:
    return line[:200].decode(errors="backslashreplace")
