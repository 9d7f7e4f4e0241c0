"""Who was refused, at a door or in a call, for `refusals.list` and for whoever looks for the reason afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.store import records
from gateway.store.database import Database
from gateway.store.writer import Entry
from supervisor.messages import OUTER_PREFIX

MAX_PENDING = 1000
"""Refusals on their way to the disk; what comes on top, and what the disk does not take, is only counted, so that a
flood at a door costs no memory."""
MAX_TEXT = 1000


class Refusals:
    """The newest 10,000 refusals on disk (`housekeeping`), and how often each code occurred among them."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._pending = 0
        self.dropped = 0

    def note(self, *, code: str, door: str, peer: str, reason: str, method: str | None = None) -> None:
        """Write one down; never waits. It may be lost in a crash within 50 ms."""
        if self._pending >= MAX_PENDING:
            self.dropped += 1
            return
        self._pending += 1
        now, cut = self._clock(), reason[:MAX_TEXT]

        def settle() -> None:
            self._pending -= 1
            self.dropped += entry.error is not None

        entry = Entry(
            lambda db: records.add_refusal(db, now, code, door, peer, cut, method), lazy=True, settle=settle
        )  # fmt: skip
        self._database.put(entry)

    def newest(self, *, code: str | None = None, limit: int = 100, devices: bool = True) -> dict[str, Any]:
        """{refusals: [{ts, code, door, peer, reason, method?}], counts: {code: n}, dropped: n}; without those at the
        outer door unless `devices`."""
        size = max(0, min(limit, 1000))
        hidden = None if devices else OUTER_PREFIX
        found = self._database.read(lambda db: records.newest_refusals(db, code, size, hidden))
        return {"refusals": found, "counts": self._database.read(records.count_refusals), "dropped": self.dropped}
