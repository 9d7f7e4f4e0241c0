"""Waits that are given up after a time, for many at once. Owns one deadline for all that wait equally long: they began
in order, so they end in order. A cancel scope for each would cost as much as a task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import trio

from gateway.services.timers import Timers

GiveUp = Callable[[], None]


class Patience:
    """Bounded by what waits; for each length of time there is one timer, and none once nobody began so lately."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._lines: dict[float, dict[GiveUp, float]] = {}

    def begin(self, seconds: float, give_up: GiveUp) -> None:
        """Call `give_up` in so many seconds, unless that is ended before."""
        if seconds not in self._lines:
            self._lines[seconds] = {}
            self._look_in(seconds, seconds)
        self._lines[seconds][give_up] = trio.current_time() + seconds

    def end(self, seconds: float, give_up: GiveUp) -> bool:
        """What was waited for is there; False when it was given up before."""
        return seconds in self._lines and self._lines[seconds].pop(give_up, None) is not None

    def _look_in(self, seconds: float, left: float) -> None:
        self._timers.set(("patience", seconds), left, partial(self._look, seconds))

    def _look(self, seconds: float) -> None:
        line, now = self._lines[seconds], trio.current_time()
        while line:
            give_up, until = next(iter(line.items()))
            if until > now:
                return self._look_in(seconds, until - now)
            del line[give_up]
            give_up()
        del self._lines[seconds]
