"""The table `mailbox`: the message of each run, and who has it; `dead` ones are parked until an operator decides."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.store import many

NEW, TAKEN, DONE, CONSUMED, DEAD, DROPPED = "new", "taken", "done", "consumed", "dead", "dropped"
OPEN = (NEW, TAKEN, DEAD)


class MailRecord(msgspec.Struct, frozen=True):
    """One message. `run` is its own run's id, `taken_by` the run that reads it in place of that one."""

    id: int
    run: str
    session: str
    state: str
    taken_by: str | None
    text: str
    provenance: dict[str, Any]
    created_at: float


_COLUMNS = ", ".join(MailRecord.__struct_fields__)
_SELECT = f"SELECT {_COLUMNS} FROM mailbox"


def _record(row: tuple[Any, ...]) -> MailRecord:
    id, run, session, state, taken_by, text, provenance, created_at = row
    return MailRecord(id, run, session, state, taken_by, text, json.loads(provenance), created_at)


def insert(
    db: sqlite3.Connection,
    run: str,
    session: str,
    text: str,
    provenance: dict[str, Any],
    at: float,
    taken_by: str | None,
) -> MailRecord:
    """A new message: waiting, or at once in the hands of `taken_by`."""
    state = TAKEN if taken_by else NEW
    row = db.execute(
        "INSERT INTO mailbox (run, session, state, taken_by, text, provenance, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (run, session, state, taken_by, text, _packed(provenance), at),
    ).fetchone()
    return MailRecord(row[0], run, session, state, taken_by, text, provenance, at)


def insert_many(db: sqlite3.Connection, records: Sequence[MailRecord]) -> None:
    """New rows, with all their columns; `id` goes on from `newest_id`."""
    rows = [
        (one.id, one.run, one.session, one.state, one.taken_by, one.text, _packed(one.provenance), one.created_at)
        for one in records
    ]
    many.insert(db, "mailbox", _COLUMNS, rows)


def newest_id(db: sqlite3.Connection) -> int:
    """The number of the message accepted last, of those there are."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM mailbox").fetchone()[0])


def _packed(provenance: dict[str, Any]) -> str:
    return msgspec.json.encode(provenance).decode()


def of_run(db: sqlite3.Connection, run: str) -> MailRecord | None:
    row = db.execute(f"{_SELECT} WHERE run = ?", (run,)).fetchone()
    return _record(row) if row else None


def taken_by(db: sqlite3.Connection, run: str) -> list[MailRecord]:
    """What a run was given beside its own message, oldest first."""
    return [_record(row) for row in db.execute(f"{_SELECT} WHERE taken_by = ? AND state = 'taken' ORDER BY id", (run,))]


def mark(db: sqlite3.Connection, run: str, state: str, by: str | None = None) -> None:
    """Set where the message of `run` is, and in whose hands."""
    db.execute("UPDATE mailbox SET state = ?, taken_by = ? WHERE run = ?", (state, by, run))


def get(db: sqlite3.Connection, mail_id: int) -> MailRecord | None:
    row = db.execute(f"{_SELECT} WHERE id = ?", (mail_id,)).fetchone()
    return _record(row) if row else None


def still_open(
    db: sqlite3.Connection, state: str | None, session: str | None, after: int, limit: int
) -> list[MailRecord]:
    """Messages nobody is through with, oldest first, from the first one behind the id `after`."""
    where = f"state IN {OPEN} AND id > ?"
    values: list[Any] = [after]
    for column, value in (("state", state), ("session", session)):
        if value is not None:
            where += f" AND {column} = ?"
            values.append(value)
    return [_record(row) for row in db.execute(f"{_SELECT} WHERE {where} ORDER BY id LIMIT ?", (*values, limit))]


def count_dead(db: sqlite3.Connection, session: str | None = None) -> int:
    """How many messages are parked, of one session or in all."""
    where, values = ("", ()) if session is None else (" AND session = ?", (session,))
    sql = f"SELECT count(*) FROM mailbox WHERE state IN {OPEN} AND state = 'dead'{where}"
    return int(db.execute(sql, values).fetchone()[0])


def forget(db: sqlite3.Connection, created_before: float, limit: int) -> int:
    """Drop up to `limit` messages somebody is through with; what was said stays in the transcript."""
    sql = """DELETE FROM mailbox WHERE id IN (SELECT id FROM mailbox
        WHERE state IN ('done', 'consumed', 'dropped') AND created_at < ? LIMIT ?)"""
    return db.execute(sql, (created_before, limit)).rowcount
