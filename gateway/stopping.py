"""The word to stop, wherever it comes from: a signal, or the supervisor's Retire.

Owns: what it does. Whoever is still starting, and may be waiting for a disk to have room, leaves at once; whoever
serves is told and ends in order."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio


class Stop:
    """Said once, by whoever says it first. `starting` is the scope everything is opened in."""

    def __init__(self) -> None:
        self.starting = trio.CancelScope()
        self.reason = ""
        self._said = trio.Event()
        self._started = False

    def say(self, reason: str) -> None:
        """Stop. Until `started`, that cancels what is being opened."""
        self.reason = self.reason or reason
        self._said.set()
        if not self._started:
            self.starting.cancel()

    def started(self) -> None:
        """Everything is open: from now on the word is waited for."""
        self._started = True

    async def wait(self) -> None:
        """Wait for the word."""
        await self._said.wait()

    async def serve_signals(self, terminations: AsyncIterator[int]) -> None:
        """Say it whenever a signal does, for ever."""
        async for _ in terminations:
            self.say("SIGTERM")
