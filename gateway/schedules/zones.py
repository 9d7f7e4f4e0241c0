"""Time zones by name, the host's own, and noticing that their rules have changed on disk.

Owns what is remembered of them. A zone is read from the system's files first and from the tzdata distribution where
there are none (PEP 615)."""

from __future__ import annotations

import contextlib
import os
import zoneinfo
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.schedules.schedule import BadSchedule

LOCAL = Path("/etc/localtime")
NAMED = Path("/etc/timezone")
"""Debian's second word on it, for hosts whose /etc/localtime is a copy: that says the rules, and not their name."""


class Zones:
    """The zones that schedules have asked for."""

    def __init__(self) -> None:
        self._known: dict[str, tzinfo] = {}
        self._stamps: dict[str, tuple[int, int] | None] = {}
        self.host = host_zone()

    def get(self, name: str | None) -> tzinfo:
        """The zone of an IANA name; None is the host's. Raises BadSchedule."""
        wanted = name if name is not None else self.host
        if wanted in ("UTC", "Etc/UTC", "Z"):
            return UTC
        if wanted not in self._known:
            self._known[wanted] = _read(wanted)
            self._stamps[wanted] = _stamp(wanted)
        return self._known[wanted]

    def refresh(self) -> bool:
        """Forget zones whose file is another one than when it was read; whether there were any. Reads no more than a
        few directory entries."""
        host = host_zone()
        known = [*self._stamps.items()]  # another thread may ask for a zone while the files are looked at
        changed = [name for name, stamp in known if _stamp(name) != stamp]
        for name in changed:
            del self._known[name], self._stamps[name]
        if changed:
            ZoneInfo.clear_cache(only_keys=changed)
        moved, self.host = host != self.host, host
        return bool(changed) or moved


def host_zone() -> str:
    """The name of the host's zone; UTC when nothing says another one that can be read."""
    named = os.environ.get("TZ", "").removeprefix(":")
    if not named and LOCAL.is_symlink():
        named = str(LOCAL.readlink()).partition("zoneinfo/")[2]
    elif not named and LOCAL.exists():
        with contextlib.suppress(OSError):
            named = NAMED.read_text(errors="replace")[:256].strip()
    try:
        _read(named or "UTC")
    except BadSchedule:
        return "UTC"
    return named or "UTC"


def _read(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # a name that is a path, a directory, no zone
        raise BadSchedule(
            f'time zone "{name[:64]}" is unknown; write an IANA name such as Europe/Berlin, America/New_York or UTC'
        ) from None


def _stamp(name: str) -> tuple[int, int] | None:
    """What tells one version of a zone's file from another; None for a zone that is not one of the system's."""
    for place in zoneinfo.TZPATH:
        try:
            found = Path(place, name).stat()
        except OSError:
            continue
        return found.st_mtime_ns, found.st_ino
    return None
