"""The word to stop, wherever it comes from: a signal, or the supervisor's Retire.

Owns: what it does. Whoever is still starting, and may be waiting for a disk to have room, leaves at once; whoever
serves is told and ends in order; a signal that is for the supervisor ends nobody."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator

import trio

_log = logging.getLogger("gateway.stopping")

HEARD = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGQUIT)
"""SIGTERM, and what the supervisor understands: sent to the gateway by mistake, these would kill it."""


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

    async def serve_signals(self, received: AsyncIterator[int]) -> None:
        """Say it whenever SIGTERM does, for ever. Any other is logged with whom to signal, and changes nothing."""
        async for number in received:
            if number == signal.SIGTERM:
                self.say("SIGTERM")
            else:
                name, supervisor = signal.Signals(number).name, os.getppid()
                _log.warning("%s is for the supervisor: kill -%s %d", name, name.removeprefix("SIG"), supervisor)
