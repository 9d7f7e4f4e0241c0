"""Deadlines of many things in one task. Owns nothing but when to call whom.

A key has at most one deadline; setting it again replaces it. Bounded by what has deadlines: runs in progress and
workers."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import trio


class Timers:
    """Calls plain functions when their time has come."""

    def __init__(self) -> None:
        self._due: dict[Hashable, tuple[float, Callable[[], None]]] = {}
        self._changed = trio.Event()

    def set(self, key: Hashable, seconds: float, call: Callable[[], None]) -> None:
        """Call `call` in so many seconds unless the key is cleared before."""
        self._due[key] = (trio.current_time() + max(0.0, seconds), call)
        self._changed.set()

    def clear(self, key: Hashable) -> None:
        """Forget a deadline; one that is not there is fine. (The task may wake once for nothing.)"""
        self._due.pop(key, None)

    async def serve(self) -> None:
        """Call what is due, for ever."""
        while True:
            self._changed = trio.Event()
            if self._due:
                key = min(self._due, key=lambda one: self._due[one][0])
                when, call = self._due[key]
                if when <= trio.current_time():
                    del self._due[key]
                    call()
                    await trio.lowlevel.checkpoint()
                    continue
                with trio.move_on_at(when):
                    await self._changed.wait()
            else:
                await self._changed.wait()
