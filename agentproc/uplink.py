"""The worker's connection to the gateway, which may end and come back: a call made on it is answered, however often it
must be sent.

Owns: reconnecting. Every connect takes a fresh ticket, because one opens the door once. A call in flight when the
connection ends is sent again on the next one, unchanged, so that its idempotency key makes the second the same as the
first."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from agentproc.failure import leaves
from agentproc.heartbeat import LifelineLost
from gateway.client import CallFailed, Client, ConnectionLost
from gateway.protocol.frames import Event

FIRST_DELAY = 0.01
LONGEST_DELAY = 1.0
HELLO_SECONDS = 10.0
"""A gateway that takes the connection and says nothing: another may have taken its place meanwhile."""


Open = Callable[[str], AbstractAsyncContextManager[Client]]
"""Opens a connection with a ticket."""


class Uplink:
    """One worker's way to the gateway.

    `tickets` gives a fresh ticket. `greet` is awaited with each new client before anybody else may call on it (there
    the worker says which run it holds). `hear` gets every event. `on_change` is told when the connection is there or
    gone."""

    def __init__(
        self,
        opener: Open,
        tickets: Callable[[], Awaitable[str]],
        *,
        greet: Callable[[Client], Awaitable[None]],
        hear: Callable[[Event], None],
        on_change: Callable[[bool, str], None] = lambda connected, why: None,
    ) -> None:
        self._open = opener
        self._tickets = tickets
        self._greet = greet
        self._hear = hear
        self._on_change = on_change
        self._client: Client | None = None
        self._changed = trio.Event()

    async def serve(self) -> None:
        """Keep the connection up; never returns."""
        delay = 0.0
        while True:
            began = trio.current_time()
            self._on_change(False, await self._one_connection())
            if trio.current_time() - began > LONGEST_DELAY:
                delay = 0.0
            delay = min(LONGEST_DELAY, max(FIRST_DELAY, delay * 2))
            await trio.sleep(delay)

    async def call(self, method: str, params: Any = None, *, patience: float | None = None) -> Any:
        """The answer to a call; sent again after each reconnect until there is one.

        A refusal marked retryable is tried again for `patience` seconds (None: without end). Raises CallFailed."""
        give_up = None if patience is None else trio.current_time() + patience
        delay = FIRST_DELAY
        while True:
            client = await self._current()
            try:
                return await client.call(method, params)
            except ConnectionLost:
                self._forget(client)
            except CallFailed as failed:
                if not failed.shape.retryable or (give_up is not None and trio.current_time() >= give_up):
                    raise
                await trio.sleep(max(delay, (failed.shape.retry_after_ms or 0) / 1000))
                delay = min(LONGEST_DELAY, delay * 2)

    async def _one_connection(self) -> str:
        """Open a connection and use it until it ends. Returns why it did."""
        why = f"no greeting within {HELLO_SECONDS:.0f} s"
        try:
            with trio.CancelScope(deadline=trio.current_time() + HELLO_SECONDS) as scope:
                async with self._open(await self._tickets()) as client:
                    await self._greet(client)
                    scope.deadline = math.inf
                    why = await self._use(client)
        except* (OSError, ConnectionLost, CallFailed, LifelineLost, trio.TooSlowError) as group:
            why = "; ".join(f"{type(error).__name__}: {error}" for error in leaves(group))
        return why

    async def _use(self, client: Client) -> str:
        """Let others call on it, and hear its events, until it ends. Returns why it did."""
        self._client = client
        self._changed.set()
        self._on_change(True, "")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, client)
                why = await client.wait_closed()
                nursery.cancel_scope.cancel()
        finally:
            self._forget(client)
        return why

    async def _listen(self, client: Client) -> None:
        async for event in client.events:
            self._hear(event)
            # All that has come, at once: whoever was answered meanwhile relies on what was sent before the answer.
            with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
                while True:
                    self._hear(client.events.receive_nowait())

    def _forget(self, client: Client) -> None:
        if self._client is client:
            self._client = None
            self._changed = trio.Event()

    async def _current(self) -> Client:
        while self._client is None:
            await self._changed.wait()
        return self._client
