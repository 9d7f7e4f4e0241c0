"""The table `tool_calls`: what turns did outside, or began to do. Rows in, rows out."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import msgspec

INTENT, DONE, FAILED, UNKNOWN = "intent", "done", "failed", "unknown"


class CallRecord(msgspec.Struct, frozen=True):
    """One action. `result` is its value when it is done, the error's text when it failed."""

    run: str
    call: str
    name: str
    effect: str
    state: str
    attempt: int
    result: Any
    started_at: float
    ended_at: float | None


_SELECT = "SELECT run, call, name, effect, state, attempt, result, started_at, ended_at FROM tool_calls"


def _record(row: tuple[Any, ...]) -> CallRecord:
    run, call, name, effect, state, attempt, result, started_at, ended_at = row
    value = json.loads(result) if result is not None else None
    return CallRecord(run, call, name, effect, state, attempt, value, started_at, ended_at)


def get(db: sqlite3.Connection, run: str, call: str) -> CallRecord | None:
    row = db.execute(f"{_SELECT} WHERE run = ? AND call = ?", (run, call)).fetchone()
    return _record(row) if row else None


def of_run(db: sqlite3.Connection, run: str, limit: int) -> list[CallRecord]:
    """The newest `limit` actions of a run, oldest first."""
    rows = db.execute(f"{_SELECT} WHERE run = ? ORDER BY started_at DESC LIMIT ?", (run, limit))
    return [_record(row) for row in rows][::-1]


def count(db: sqlite3.Connection, run: str) -> int:
    return int(db.execute("SELECT count(*) FROM tool_calls WHERE run = ?", (run,)).fetchone()[0])


def put_intent(
    db: sqlite3.Connection, run: str, call: str, name: str, effect: str, attempt: int, at: float
) -> None:  # fmt: skip
    """Write that an action begins; one that was begun before begins again."""
    db.execute(
        "INSERT INTO tool_calls (run, call, name, effect, state, attempt, started_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (run, call) DO UPDATE SET effect = excluded.effect, state = excluded.state, "
        "attempt = excluded.attempt, result = NULL, started_at = excluded.started_at, ended_at = NULL",
        (run, call, name, effect, INTENT, attempt, at),
    )


def settle(db: sqlite3.Connection, run: str, call: str, state: str, packed: str | None, at: float) -> None:
    """Write how an action ended; `packed` is JSON text."""
    db.execute(
        "UPDATE tool_calls SET state = ?, result = ?, ended_at = ? WHERE run = ? AND call = ?",
        (state, packed, at, run, call),
    )


def open_unsafe(db: sqlite3.Connection, run: str) -> str | None:
    """The name of an action that was begun, must not be repeated, and of which nobody knows whether it happened."""
    sql = "SELECT name FROM tool_calls WHERE run = ? AND state = 'intent' AND effect = 'unsafe' LIMIT 1"
    row = db.execute(sql, (run,)).fetchone()
    return row[0] if row else None


def leave_open(db: sqlite3.Connection, run: str, at: float) -> None:
    """The run is over: nobody will say any more how its open actions ended."""
    db.execute(
        "UPDATE tool_calls SET state = 'unknown', ended_at = ? WHERE run = ? AND state = 'intent'", (at, run)
    )  # fmt: skip


def forget(db: sqlite3.Connection, before: float, limit: int) -> int:
    """Drop up to `limit` actions begun before, of runs that have ended and are not parked."""
    sql = """DELETE FROM tool_calls WHERE (run, call) IN (
        SELECT run, call FROM tool_calls AS old WHERE started_at < ?
        AND NOT EXISTS (SELECT 1 FROM runs WHERE id = old.run AND ended_at IS NULL)
        AND NOT EXISTS (SELECT 1 FROM mailbox WHERE run = old.run AND state = 'dead') LIMIT ?)"""
    return db.execute(sql, (before, limit)).rowcount
