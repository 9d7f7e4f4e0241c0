"""Noticing that a process is stuck, and ending it so that the log shows where it stood.

Owns: the patience with silent processes. Time is Trio's monotonic clock, which stands still while the machine
sleeps."""

from __future__ import annotations

import signal
from collections.abc import Callable

import trio

from supervisor import trees

TICK_SECONDS = 1.0
ABORT_SECONDS = 2.0
"""Between SIGABRT, upon which faulthandler prints every thread's stack, and SIGKILL."""


async def wait_for_silence(last_beat: Callable[[], float], allowed: float) -> None:
    """Return when no heartbeat came for `allowed` seconds. `last_beat` tells when the last one was *read*: when this
    process itself was held up, heartbeats may lie unread, so a late tick judges nobody and gives everyone the time it
    lost."""
    forgiven = 0.0
    while True:
        before = trio.current_time()
        await trio.sleep(TICK_SECONDS)
        late = trio.current_time() - before - TICK_SECONDS
        if late > TICK_SECONDS:
            forgiven = trio.current_time()
        elif trio.current_time() - max(last_beat(), forgiven) > allowed:
            return


async def abort_then_kill(pidfd: int) -> None:
    """SIGABRT, ABORT_SECONDS to print its stacks, SIGKILL. SIGCONT lets a stopped process hear the first."""
    trees.send(pidfd, signal.SIGABRT)
    trees.send(pidfd, signal.SIGCONT)
    await trio.sleep(ABORT_SECONDS)
    trees.send(pidfd, signal.SIGKILL)
