"""The audit of the outer door: a line on disk and a line in the log for all that was asked, granted, refused or taken
away.

Owns the log's wording. A line about a change is written in the transaction that makes it; any other is posted, and
never waits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gateway.protocol.devices import AuditLine
from gateway.store import audit as table
from gateway.store.database import Database
from gateway.store.writer import Entry

_log = logging.getLogger("gateway.pairing")

MAX_PENDING = 1000
"""Posted lines on their way to the disk; what comes on top, and what it does not take, is only counted and logged,
so that a flood at the door costs no memory."""
MAX_TEXT = 500
MAX_LISTED = 1000


class Audit:
    """What happened at the outer door; the newest 100,000 lines stay, and as many that are no refusals
    (`housekeeping`)."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._pending = 0
        self.dropped = 0

    def note(
        self, event: str, *, rule: str = "", device: str = "", address: str = "", who: str = "", conn: str = "",
        detail: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Write one line; never waits. It may be lost in a crash within 50 ms. `detail` holds no secret."""
        line = AuditLine(
            event, rule, device, address, who, conn, {key: _cut(one) for key, one in (detail or {}).items()}
        )
        tell(line)
        if self._pending >= MAX_PENDING:
            self.dropped += 1
            return
        self._pending += 1
        now = self._clock()

        def settle() -> None:
            self._pending -= 1
            self.dropped += entry.error is not None

        entry = Entry(lambda db: table.add(db, now, line), lazy=True, settle=settle)
        self._database.put(entry)

    def lines(self, *, event: str | None = None, since: int | None = None, limit: int = 100) -> dict[str, Any]:
        """{entries: [{id, ts, event, rule?, device?, address?, who?, conn?, detail?}], dropped}: the newest, or the
        first behind the id `since`; the oldest of them first."""
        size = max(1, min(limit, MAX_LISTED))
        found = self._database.read(lambda db: table.lines(db, event=event, since=since, limit=size))
        return {"entries": found, "dropped": self.dropped}


def _cut(value: Any) -> Any:
    return value[:MAX_TEXT] if isinstance(value, str) else value


def tell(line: AuditLine) -> None:
    """The line in the log: `security audit: <event>` and what it is about."""
    about = {"rule": line.rule, "device": line.device, "ip": line.address, "who": line.who, "conn": line.conn}
    extra = {name: value for name, value in {**about, **_flat(line.detail)}.items() if value}
    _log.warning("security audit: %s", line.event, extra=extra)


def _flat(detail: dict[str, Any]) -> dict[str, Any]:
    """The log's own fields (name, args, …) must not be overwritten by ours."""
    return {f"audit_{name}": ",".join(one) if isinstance(one, list | tuple) else one for name, one in detail.items()}
