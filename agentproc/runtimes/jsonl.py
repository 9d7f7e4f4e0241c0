"""The conversation with a program that speaks JSON lines: one object per line, UTF-8, both ways.

To the program, first: `{"message", "provenance", "agentId", "sessionKey", "runId", "attempt", "deadlineMs"?}`. From the
program (`agentproc.runtimes.lines` has every form): `say` tells progress, `reply` is the reply. These are answered by a
line with their `id`, `{"id", "ok": true, …}` or `{"id", "ok": false, "error": {"code", "message"}}`:

    invoke            uses a session tool: `result`
    once              begins an action outside: `do: true` (do it, then say `done` or `failed`), or `do: false` with the
                      recorded `result`, or the error ACTION_FAILED
    done, failed      how it ended, answered when that is on disk, as `once` is in a later attempt
    steer             opens or closes the steer channel; messages come as `{"steer": {"id", "message", "provenance"}}`
                      and are taken by `ack`

Tool calls and actions are journalled as those of a Python agent are, so a turn run again (`retrySafe: true`) gets the
recorded answers. The conversation ends when the program closes its standard output."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from agentproc.context import ActionFailed, Begun, Context, ToolRefused
from agentproc.limits import output_limit
from agentproc.runtimes import lines
from agentproc.runtimes.base import TurnFailed
from agentproc.runtimes.lines import Ack, Done, Failed, Invoke, Once, Reply, Say, Steer
from agentproc.runtimes.process import Program
from agentproc.runtimes.steering import SteerChannel

MAX_CALLS = 16
"""Requests of one program that may wait for the gateway at once; the next line is read when one is answered."""

MAX_UNREAD_BYTES = 16 * 1024 * 1024
"""Of answers that wait for the program to read; one that asks on then is failed."""
ANSWER_BYTES = 1024
"""What keeping an answer takes beside its text."""

Answer = dict[str, Any]


class Conversation:
    """One turn's worth of lines. `output_bytes` bounds one line, and the reply. `unsettled` names the actions that were
    begun and whose end was not told."""

    def __init__(self, ctx: Context, program: Program, output_bytes: int) -> None:
        self._ctx = ctx
        self._program = program
        self._limit = output_bytes
        self._reply: str | None = None
        self._calls = trio.Semaphore(MAX_CALLS)
        self._writing = trio.Lock()
        self._unread = 0
        self._begun: dict[str | int, Begun | None] = {}
        self._channel = SteerChannel(ctx, self._write)

    @property
    def unsettled(self) -> list[str]:
        """The names of actions nobody said the end of."""
        return [begun.name for begun in self._begun.values() if begun is not None]

    async def hold(self) -> str | None:
        """Talk until the program has nothing more to say. Raises TurnFailed when it breaks the rules."""
        failure: TurnFailed | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, self._opening())
            try:
                await self._listen(nursery)
            except TurnFailed as failed:  # raised again outside: the nursery would wrap it
                failure = failed
                nursery.cancel_scope.cancel()
            self._channel.close()
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
        while chunk := await self._program.read():
            *whole, buffer = (buffer + chunk).split(b"\n")
            for line in whole:
                await self._take(nursery, line)
            if len(buffer) > self._limit:
                raise TurnFailed(f"the program wrote a line of more than {output_limit(self._limit)}")
        await self._take(nursery, buffer)

    async def _take(self, nursery: trio.Nursery, text: bytes) -> None:
        if not text.strip():
            return
        if self._unread > MAX_UNREAD_BYTES:
            raise TurnFailed(f"the program asks on while {MAX_UNREAD_BYTES // 1024**2} MiB of answers wait to be read")
        try:
            line = lines.parse(text)
        except ValueError as wrong:
            raise TurnFailed(f"the program wrote {wrong}") from None
        match line:
            case Say():
                await self._ctx.say(line.text)
            case Reply():
                self._reply = line.text
            case Ack():
                if not self._channel.acknowledge(line.id):
                    raise TurnFailed(f"the program acknowledged {line.id}, which it was not given or had acknowledged")
            case Steer():
                await self._start(nursery, partial(self._steer, line))
            case Invoke() | Once() | Done() | Failed():
                await self._calls.acquire()
                await self._start(nursery, partial(self._request, line.id, self._carrying_out(line)))

    async def _start(self, nursery: trio.Nursery, task: Callable[[], Awaitable[None]]) -> None:
        """Have a line carried out. Before this returns the task has come to its first wait, where its call has its
        number in the journal: so equal calls are numbered in the order of their lines, in every attempt."""
        nursery.start_soon(task)
        await trio.lowlevel.checkpoint()

    def _carrying_out(self, line: Invoke | Once | Done | Failed) -> Callable[[], Awaitable[Answer]]:
        """What a line asks for. Raises TurnFailed when it does not fit the lines before it."""
        if isinstance(line, Invoke):
            return partial(self._invoke, line)
        if isinstance(line, Once):
            if line.id in self._begun:
                raise TurnFailed(f"the program began an action {line.id!r} while another of that id is not ended")
            self._begun[line.id] = None
            return partial(self._begin, line)
        begun = self._begun.pop(line.id, None)
        if begun is None:
            raise TurnFailed(f"the program told the end of {line.id!r}, an action it was not told to do")
        return partial(self._settle, begun, line)

    async def _request(self, id: object, asked: Callable[[], Awaitable[Answer]]) -> None:
        try:
            answer = {"id": id, "ok": True, **await asked()}
        except ToolRefused as refused:
            answer = _refusal(id, refused.code, str(refused))
        except ActionFailed as failed:
            answer = _refusal(id, "ACTION_FAILED", str(failed))
        finally:
            self._calls.release()
        await self._write(answer)

    async def _invoke(self, line: Invoke) -> Answer:
        return {"result": await self._ctx.invoke(line.tool, line.args)}

    async def _begin(self, line: Once) -> Answer:
        begun: Begun | None = None
        try:
            begun = await self._ctx.begin(line.name, effect=line.effect)
        finally:
            if begun is None or begun.state == "done":
                self._begun.pop(line.id, None)
        if begun.state == "done":
            return {"do": False, "result": begun.result}
        self._begun[line.id] = begun
        return {"do": True}

    async def _settle(self, begun: Begun, line: Done | Failed) -> Answer:
        if isinstance(line, Failed):
            await self._ctx.settle_failed(begun, line.error)
            raise ActionFailed(line.error)
        try:
            return {"do": False, "result": await self._ctx.settle(begun, line.result)}
        except ValueError as error:  # noted as failed
            raise ActionFailed(str(error)) from None

    async def _steer(self, line: Steer) -> None:
        try:
            await self._channel.set_open(line.open, partial(self._write, {"id": line.id, "ok": True}))
        except ToolRefused as refused:
            await self._write(_refusal(line.id, refused.code, str(refused)))

    async def _write(self, value: object) -> None:
        data = json.dumps(value).encode() + b"\n"
        self._unread += len(data) + ANSWER_BYTES
        try:
            async with self._writing:
                await self._program.stdin.send_all(data)
        except trio.BrokenResourceError:
            return  # it does not want to know
        finally:
            self._unread -= len(data) + ANSWER_BYTES


def _refusal(id: object, code: str, message: str) -> Answer:
    return {"id": id, "ok": False, "error": {"code": code, "message": message}}
