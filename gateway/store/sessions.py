"""The tables `sessions`, `transcript` and `session_state`: rows in, rows out."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.store import many


class SessionRecord(msgspec.Struct, frozen=True):
    """One row. Fields are the columns, in their order."""

    key: str
    session_id: str
    agent: str
    kind: str
    status: str
    created_at: float
    updated_at: float
    label: str | None = None
    task_name: str | None = None
    spawned_by: str | None = None
    spawn_depth: int = 0
    cleanup: str = "keep"
    last_run: str | None = None
    last_error: str | None = None
    messages: int = 0
    bytes: int = 0


class Message(msgspec.Struct, frozen=True):
    """One entry of a transcript."""

    session: str
    seq: int
    at: float
    role: str
    text: str
    run: str
    provenance: dict[str, Any] | None
    stop_reason: str | None


COLUMNS = ", ".join(SessionRecord.__struct_fields__)
_SELECT = f"SELECT {COLUMNS} FROM sessions"


def _records(rows: Iterable[Sequence[Any]]) -> list[SessionRecord]:
    return [SessionRecord(*row) for row in rows]


def get(db: sqlite3.Connection, key: str) -> SessionRecord | None:
    row = db.execute(f"{_SELECT} WHERE key = ?", (key,)).fetchone()
    return SessionRecord(*row) if row else None


def get_many(db: sqlite3.Connection, keys: Sequence[str]) -> dict[str, SessionRecord]:
    """Those of these sessions that there are, by key."""
    return {row[0]: SessionRecord(*row) for row in many.select(db, f"{_SELECT} WHERE key IN ({{}})", keys)}


def insert(db: sqlite3.Connection, record: SessionRecord) -> None:
    """A new row."""
    many.insert(db, "sessions", COLUMNS, [msgspec.structs.astuple(record)])


def update(db: sqlite3.Connection, key: str, **values: Any) -> None:
    """Change columns; a session that is gone stays gone."""
    settings = ", ".join(f"{name} = ?" for name in values)
    db.execute(f"UPDATE sessions SET {settings} WHERE key = ?", (*values.values(), key))


def touch(db: sqlite3.Connection, keys: Sequence[str], at: float) -> None:
    """Something happened in these sessions."""
    for part in many.parts(keys):
        db.execute(f"UPDATE sessions SET updated_at = ? WHERE key IN ({many.marks(len(part))})", (at, *part))


def find(db: sqlite3.Connection, filters: dict[str, Any], limit: int) -> list[SessionRecord]:
    """Sessions whose columns have these values, newest first."""
    where = " AND ".join(f"{name} = ?" for name in filters) or "1"
    return _records(db.execute(f"{_SELECT} WHERE {where} ORDER BY updated_at DESC LIMIT ?", (*filters.values(), limit)))


def page(
    db: sqlite3.Connection, filters: dict[str, Any], since: float, search: str | None, limit: int, offset: int
) -> tuple[list[SessionRecord], int]:
    """One page, newest first, of sessions updated at `since` or later, and how many there are in all."""
    where = "".join(f" AND {name} = ?" for name in filters)
    values: list[Any] = [since, *filters.values()]
    if search:
        where += " AND (instr(key, ?) OR instr(lower(coalesce(label, '')), ?) OR instr(coalesce(task_name, ''), ?))"
        values += [search.lower()] * 3
    rows = db.execute(
        f"{_SELECT} WHERE updated_at >= ?{where} ORDER BY updated_at DESC, key LIMIT ? OFFSET ?",
        (*values, limit, offset),
    )
    (total,) = db.execute(f"SELECT count(*) FROM sessions WHERE updated_at >= ?{where}", values).fetchone()
    return _records(rows), int(total)


def count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM sessions").fetchone()[0])


def delete(db: sqlite3.Connection, key: str) -> None:
    """Remove a session, its transcript and its state. Its runs stay, for whoever waits for one."""
    db.execute("DELETE FROM transcript WHERE session = ?", (key,))
    db.execute("DELETE FROM session_state WHERE session = ?", (key,))
    db.execute("DELETE FROM sessions WHERE key = ?", (key,))


def empty(db: sqlite3.Connection, key: str, session_id: str, at: float) -> None:
    """Begin a session anew: its transcript and its state go, its row stays."""
    db.execute("DELETE FROM transcript WHERE session = ?", (key,))
    db.execute("DELETE FROM session_state WHERE session = ?", (key,))
    update(db, key, session_id=session_id, messages=0, bytes=0, last_error=None, updated_at=at)


AT_WORK = """WITH RECURSIVE at_work (session) AS (SELECT session FROM runs WHERE ended_at IS NULL
    UNION SELECT spawned_by FROM at_work JOIN sessions ON key = session WHERE spawned_by IS NOT NULL)"""
"""Sessions in which something goes on, and those that will hear of it: their children's results, and what these told
their children to do, come back to them."""
IDLE = """key NOT IN (SELECT session FROM at_work)
    AND NOT EXISTS (SELECT 1 FROM runs JOIN mailbox ON mailbox.run = runs.id
        WHERE runs.session = key AND mailbox.state = 'dead')"""
"""Of a session, beside `AT_WORK`: nothing goes on in it or below it, and no message of it is parked."""


def is_at_work(db: sqlite3.Connection, key: str) -> bool:
    """Whether something goes on in a session, or in one that descends from it."""
    sql = """WITH RECURSIVE below (session) AS (
            VALUES (?) UNION SELECT key FROM below JOIN sessions ON spawned_by = session)
        SELECT EXISTS (SELECT 1 FROM below JOIN runs ON runs.session = below.session WHERE ended_at IS NULL)"""
    return bool(db.execute(sql, (key,)).fetchone()[0])


def idle_subagents(db: sqlite3.Connection, agent: str, updated_before: float, limit: int) -> list[str]:
    """An agent's sub-agent sessions nothing happens in any more, nor below them."""
    where = f"spawned_by IS NOT NULL AND agent = ? AND updated_at < ? AND {IDLE}"
    sql = f"{AT_WORK} SELECT key FROM sessions WHERE {where} LIMIT ?"
    return [key for (key,) in db.execute(sql, (agent, updated_before, limit))]


def idle(db: sqlite3.Connection, updated_before: float, limit: int) -> list[str]:
    """Sessions nothing happens in any more, longest idle first; an agent's main session is never among them."""
    where = f"key != 'agent:' || agent || ':main' AND updated_at < ? AND {IDLE}"
    sql = f"{AT_WORK} SELECT key FROM sessions WHERE {where} ORDER BY updated_at LIMIT ?"
    return [key for (key,) in db.execute(sql, (updated_before, limit))]


# --- transcript -------------------------------------------------------------------------------------------------------


def add_message(
    db: sqlite3.Connection, session: str, at: float, role: str, text: str, run: str,
    provenance: dict[str, Any] | None = None, stop_reason: str | None = None,
) -> Message | None:  # fmt: skip
    """Append to a transcript; None when the session is gone."""
    row = db.execute(
        "UPDATE sessions SET messages = messages + 1, bytes = bytes + ? WHERE key = ? RETURNING messages",
        (len(text.encode()), session),
    ).fetchone()
    if row is None:
        return None
    message = Message(session, row[0], at, role, text, run, provenance, stop_reason)
    packed = json.dumps(provenance, separators=(",", ":")) if provenance else None
    db.execute(
        "INSERT INTO transcript (session, seq, at, role, text, run, provenance, stop_reason) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (session, message.seq, at, role, text, run, packed, stop_reason),
    )
    return message


def has_said(db: sqlite3.Connection, session: str, run: str) -> bool:
    """Whether a run's message stands in the transcript. Looks from the newest on: ask it of runs that were begun."""
    sql = "SELECT 1 FROM transcript WHERE session = ? AND run = ? AND role = 'user' ORDER BY seq DESC LIMIT 1"
    return db.execute(sql, (session, run)).fetchone() is not None


def transcript(
    db: sqlite3.Connection, session: str, limit: int, offset: int, max_chars: int
) -> tuple[list[Message], int]:
    """A page, oldest first; `offset` counts back from the newest. And how many messages there are in all. The page ends
    early when its texts are longer than `max_chars` together; one message there always is."""
    rows = db.execute(
        "SELECT session, seq, at, role, text, run, provenance, stop_reason FROM transcript WHERE session = ? "
        "ORDER BY seq DESC LIMIT ? OFFSET ?",
        (session, limit, offset),
    )
    page: list[Message] = []
    room = max_chars
    for row in rows:
        message = _message(*row)
        room -= len(message.text)
        if page and room < 0:
            break
        page.append(message)
    (total,) = db.execute("SELECT count(*) FROM transcript WHERE session = ?", (session,)).fetchone()
    return page[::-1], int(total)


def _message(
    session: str, seq: int, at: float, role: str, text: str, run: str, provenance: str | None, stop_reason: str | None
) -> Message:
    return Message(session, seq, at, role, text, run, json.loads(provenance) if provenance else None, stop_reason)


# --- state ------------------------------------------------------------------------------------------------------------


def get_state(db: sqlite3.Connection, session: str) -> dict[str, Any] | None:
    row = db.execute("SELECT state FROM session_state WHERE session = ?", (session,)).fetchone()
    return json.loads(row[0]) if row else None


def set_state(db: sqlite3.Connection, session: str, packed: str, at: float) -> None:
    """`packed` is JSON text."""
    db.execute(
        "INSERT INTO session_state (session, state, updated_at) VALUES (?, ?, ?) "
        "ON CONFLICT (session) DO UPDATE SET state = excluded.state, updated_at = excluded.updated_at",
        (session, packed, at),
    )
