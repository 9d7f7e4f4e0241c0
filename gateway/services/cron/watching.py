"""Notices what changes under the schedules: the wall clock is set, or the rules of a time zone are other ones.

Owns the one descriptor the clock takes: a timer of the real-time clock that is never due and is cancelled when that
clock jumps (TFD_TIMER_CANCEL_ON_SET, Linux 3.0; waking from a suspend counts as well). Elsewhere nothing is noticed,
and the scheduler's look once a minute has to do."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from gateway.schedules.zones import Zones

ZONES_SECONDS = 600.0
_CLOCK_REALTIME = 0
_TFD_TIMER_ABSTIME, _TFD_TIMER_CANCEL_ON_SET = 1, 2
_NEVER = struct.pack("@4l", 0, 0, 1 << (8 * struct.calcsize("@l") - 2), 0)
"""struct itimerspec: no interval, and a first time the clock does not reach."""


async def watch_clock(noticed: Callable[[], None]) -> None:
    """Tell each time the clock was set, for ever."""
    with open_clock_set() as clock:
        while True:
            await clock.wait()
            noticed()


async def watch_zones(zones: Zones, changed: Callable[[], Awaitable[None]]) -> None:
    """Tell of new rules of time zones, and of another zone of the host, for ever."""
    while True:
        await trio.sleep(ZONES_SECONDS)
        if await trio.to_thread.run_sync(zones.refresh):
            await changed()


class ClockSet:
    """Waits for the wall clock to be set. `descriptor` None: that is not told here."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    async def wait(self) -> None:
        """Return when the clock was set since the last call, or since this was opened."""
        if self._descriptor is None:
            await trio.sleep_forever()
        await trio.lowlevel.wait_readable(self._descriptor)
        with contextlib.suppress(OSError):  # ECANCELED, which is the news
            os.read(self._descriptor, 8)


@contextmanager
def open_clock_set() -> Iterator[ClockSet]:
    """A `ClockSet`. Raises OSError when no descriptor is left."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "timerfd_create"):
        yield ClockSet(None)
        return
    descriptor = _checked(libc.timerfd_create(_CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC))
    try:
        how = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
        _checked(libc.timerfd_settime(descriptor, how, _NEVER, None))
        yield ClockSet(descriptor)
    finally:
        os.close(descriptor)


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
