"""The steer channel of a program that speaks JSON lines: messages that arrive during the turn, one after the other.

Owns: when such a message counts as taken. That is when the program acknowledges it, not when it is written: what lies
in a pipe has been read by nobody, and a program that ends just then must not have swallowed it. What is not
acknowledged stays unread and gets a turn of its own. One message is out at a time, so nothing piles up in the pipe
before answers to tool calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from agentproc.context import Context
from agentproc.inbox import Inbox, Message


class SteerChannel:
    """One turn's channel, closed at first. `write` sends the program a line."""

    def __init__(self, ctx: Context, write: Callable[[object], Awaitable[None]]) -> None:
        self._ctx = ctx
        self._write = write
        self._inbox: Inbox | None = None
        self._out: int | None = None
        self._acknowledged = trio.Event()
        self._wanted = False
        self._waiting = trio.CancelScope()
        self._one_pump = trio.Lock()

    async def set_open(self, wanted: bool, opened: Callable[[], Awaitable[None]]) -> None:
        """Open it and hand out messages until it is closed, or close it; `opened` is awaited when that is so. Opening
        an open one, or closing a closed one, changes nothing. Raises ToolRefused."""
        before, self._wanted = self._wanted, wanted
        if wanted and not before:
            try:
                await self._pump(opened)
            finally:
                self._wanted = False
            return
        if not wanted:
            self._waiting.cancel()
            async with self._one_pump:  # whoever hands out is through with it
                pass
        await opened()

    def close(self) -> None:
        """The program says nothing more: hand out no more."""
        self._wanted = False
        self._waiting.cancel()

    def acknowledge(self, id: int) -> bool:
        """The program has a message. False when it is not the one that was handed out."""
        if self._inbox is None or self._out != id:
            return False
        self._inbox.get_nowait()
        self._out = None
        self._acknowledged.set()
        return True

    async def _pump(self, opened: Callable[[], Awaitable[None]]) -> None:
        async with self._one_pump, self._ctx.steer() as self._inbox:
            await opened()
            while (message := await self._next(self._inbox)) is not None:
                self._out = message.id
                # Not under `_waiting`: a line cut in half by closing would spoil every line after it.
                told = {"id": message.id, "message": message.text, "provenance": dict(message.provenance)}
                await self._write({"steer": told})

    async def _next(self, inbox: Inbox) -> Message | None:
        """The next message once the last one is acknowledged; None when the channel is to be closed."""
        with trio.CancelScope() as self._waiting:
            if not self._wanted:
                return None
            while self._out is not None:
                self._acknowledged = trio.Event()
                await self._acknowledged.wait()
            return await inbox.peek()
        return None
