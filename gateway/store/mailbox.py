"""The table `mailbox`: the message of each run, and who has it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

NEW, TAKEN, DONE, CONSUMED = "new", "taken", "done", "consumed"


@dataclass(frozen=True, slots=True)
class MailRecord:
    """One message. `run` is its own run's id, `taken_by` the run that reads it in place of that one."""

    id: int
    run: str
    session: str
    state: str
    taken_by: str | None
    text: str
    provenance: dict[str, Any]
    created_at: float


_SELECT = "SELECT id, run, session, state, taken_by, text, provenance, created_at FROM mailbox"


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
        (run, session, state, taken_by, text, json.dumps(provenance, separators=(",", ":")), at),
    ).fetchone()
    return MailRecord(row[0], run, session, state, taken_by, text, provenance, at)


def of_run(db: sqlite3.Connection, run: str) -> MailRecord | None:
    row = db.execute(f"{_SELECT} WHERE run = ?", (run,)).fetchone()
    return _record(row) if row else None


def taken_by(db: sqlite3.Connection, run: str) -> list[MailRecord]:
    """What a run was given beside its own message, oldest first."""
    return [_record(row) for row in db.execute(f"{_SELECT} WHERE taken_by = ? AND state = 'taken' ORDER BY id", (run,))]


def mark(db: sqlite3.Connection, run: str, state: str, by: str | None = None) -> None:
    """Set where the message of `run` is, and in whose hands."""
    db.execute("UPDATE mailbox SET state = ?, taken_by = ? WHERE run = ?", (state, by, run))
