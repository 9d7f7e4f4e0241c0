"""What systemd is told, by the protocol of sd_notify(3): ready, reloading, stopping, a line of status, the watchdog,
and what a start that takes long is waiting for.

Owns: NOTIFY_SOCKET and WATCHDOG_USEC. They are read once and taken out of the environment, so that no child can speak
for us. Without systemd everything here does nothing; a notification that cannot be sent is not worth failing for."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping

EXTEND_SECONDS = 30.0
"""What a start that names what it waits for asks for; it says so again every AGAIN_SECONDS for as long as it waits."""
AGAIN_SECONDS = 5.0


def watchdog_interval(environment: MutableMapping[str, str], pid: int) -> float | None:
    """Seconds between two pets, half of what systemd allows; None when it does not watch, or watches another pid.
    Removes the variables."""
    allowed = environment.pop("WATCHDOG_USEC", "")
    watched = environment.pop("WATCHDOG_PID", "")
    if not allowed.isdecimal() or int(allowed) == 0 or (watched and watched != str(pid)):
        return None
    return int(allowed) / 2_000_000


class Notifier:
    """The way to systemd. `watchdog` is the interval in seconds at which `pet` is expected, or None."""

    def __init__(self, environment: MutableMapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self.watchdog = watchdog_interval(environment, os.getpid())
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._clock = clock
        self._starting = True
        self._running = False
        self._waits: tuple[str, float] | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def send(self, *lines: str) -> bool:
        """One datagram of `KEY=value` lines. Whether it was sent."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:  # systemd is being restarted, or its queue is full: the next one tells
            return False
        return True

    def waiting(self, reason: str) -> None:
        """A start waits for what `reason` names, which is no reason to give it up (TimeoutStartSec=). May be said as
        often as one likes; nothing once `ready` or `stopping` was told."""
        now = self._clock()
        if not self._starting or (self._waits is not None and self._waits[0] == reason and now < self._waits[1]):
            return
        self._waits = (reason, now + AGAIN_SECONDS)
        self.send(
            f"EXTEND_TIMEOUT_USEC={EXTEND_SECONDS * 1_000_000:.0f}", f"STATUS=waiting: {' '.join(reason.split())}"
        )

    def ready(self, status: str) -> None:
        self._starting, self._running = False, True
        self.send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """`reloaded` must follow. The time tells systemd which of several it answers (Type=notify-reload). Nothing
        before `ready` and after `stopping`: the READY it asks for would not be true."""
        if self._running:
            self.send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self) -> None:
        if self._running:
            self.send("READY=1", "STATUS=ready")

    def stopping(self, status: str) -> None:
        self._starting = self._running = False
        self.send("STOPPING=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        self.send(f"STATUS={status}")

    def pet(self) -> None:
        self.send("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
