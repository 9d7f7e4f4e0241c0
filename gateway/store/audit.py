"""The table `audit`: who asked for what at the outer door, who granted it, who was refused, and by which rule.

Lines are added and read. That none is changed, and none of the newest 100,000 deleted, is held by triggers of the
table itself, whoever writes. Of older ones the refusals go first."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from gateway.protocol.devices import AuditLine

KEPT = 100_000
"""As the trigger `audit_is_kept` has it."""


_COLUMNS = "at, event, rule, device, address, who, conn, detail"


def add(db: sqlite3.Connection, at: float, line: AuditLine) -> None:
    detail = msgspec.json.encode(line.detail).decode()
    db.execute(
        f"INSERT INTO audit ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (at, line.event, line.rule, line.device, line.address, line.who, line.conn, detail),
    )


def lines(db: sqlite3.Connection, *, event: str | None, since: int | None, limit: int) -> list[dict[str, Any]]:
    """The newest `limit` lines, or the first `limit` behind the id `since`; the oldest of them first. As clients see
    them."""
    where = "id > ?" + (" AND event = ?" if event else "")
    order = "DESC" if since is None else "ASC"
    values: list[Any] = [since or 0, *([event] if event else []), limit]
    rows = db.execute(f"SELECT id, {_COLUMNS} FROM audit WHERE {where} ORDER BY id {order} LIMIT ?", values).fetchall()
    return [_entry(row) for row in (reversed(rows) if since is None else rows)]


def _entry(row: tuple[Any, ...]) -> dict[str, Any]:
    number, at, event, rule, device, address, who, conn, detail = row
    told = {"rule": rule, "device": device, "address": address, "who": who, "conn": conn, "detail": _unpacked(detail)}
    return {"id": number, "ts": round(at), "event": event, **{name: value for name, value in told.items() if value}}


def _unpacked(detail: str) -> Any:
    try:
        return msgspec.json.decode(detail)
    except msgspec.DecodeError:
        return {"damaged": detail[:200]}


_OLD = "SELECT id FROM audit WHERE id <= (SELECT max(id) FROM audit) - :kept AND event"
_TRIM = f"""DELETE FROM audit WHERE id IN (
    SELECT * FROM ({_OLD} LIKE '%.refused' LIMIT :limit)
    UNION ALL SELECT * FROM ({_OLD} NOT LIKE '%.refused' ORDER BY id DESC LIMIT :limit OFFSET :kept)
)"""


def trim(db: sqlite3.Connection, limit: int) -> int:
    """Drop lines older than the newest KEPT, some `limit` at a time: refusals all; of what was asked, granted and taken
    away the newest KEPT stay besides. Anybody may be refused as often as they like, and shall not push out by it who
    was let in."""
    return db.execute(_TRIM, {"kept": KEPT, "limit": limit}).rowcount
