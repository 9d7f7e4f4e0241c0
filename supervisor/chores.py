"""What the supervisor does all the time beside keeping its units: orphans, the watchdog, the doors.

Owns: those loops. Each runs for ever and is cancelled with the system."""

from __future__ import annotations

from collections.abc import Callable

import trio

from supervisor import kernel, trees
from supervisor.listeners import Listeners
from supervisor.logfile import Log
from supervisor.notify import Notifier
from supervisor.signals import Asked
from supervisor.sockets import Doors, UnsafePlace
from supervisor.spawn import SpawnTable

DOOR_SECONDS = 4.0
AGAIN_SECONDS = 0.5
"""Before /proc is looked at again, which could not be read for want of a descriptor."""
FRESH_SECONDS = 10.0


async def reap_orphans(asked: Asked, table: SpawnTable, own_filters: int) -> None:
    """After every SIGCHLD: reap ended orphans, end those of ours that got away. Several signals at once are one."""
    while True:
        await asked.child.wait()
        asked.child = trio.Event()
        try:
            await trees.sweep(table.known_pids, own_filters)
        except OSError as error:
            if not kernel.is_shortage(error):
                raise
            asked.child.set()
            await trio.sleep(AGAIN_SECONDS)


async def pet(notifier: Notifier, silent_for: Callable[[], float | None]) -> None:
    """Tell systemd's watchdog that all is well: while the gateway's heartbeat is fresh, or while it is being started
    again. Returns at once when nobody watches."""
    while notifier.watchdog is not None:
        silent = silent_for()
        if silent is None or silent < FRESH_SECONDS:
            notifier.pet()
        await trio.sleep(notifier.watchdog)


async def watch_doors(doors: Doors, listeners: Listeners, log: Log, renewed: Callable[[list[str]], None]) -> None:
    """Open again what somebody unlinked or shut down, and tell which."""

    def complain(error: UnsafePlace | OSError) -> None:
        log.error(f"a door is broken and cannot be opened again: {error}")

    while True:
        await trio.sleep(DOOR_SECONDS)
        broken = doors.check(complain)
        try:
            broken += listeners.check()
        except OSError as error:
            complain(error)
        if broken:
            renewed(broken)
