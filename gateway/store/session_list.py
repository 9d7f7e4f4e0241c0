"""Sessions as they are listed and looked up: pages, the busiest, last words. Reads only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.store import sessions
from gateway.store.sessions import Message, SessionRecord


class Wanted(msgspec.Struct, frozen=True):
    """Which sessions: `equal` compares columns, `among` says which keys, `agents` whose, `without` which kinds not.
    `since`: updated then or later. `search` is looked for in key, label and task name."""

    equal: dict[str, Any]
    since: float = 0.0
    search: str | None = None
    among: Sequence[str] | None = None
    agents: Sequence[str] | None = None
    without: Sequence[str] = ()


def page(db: sqlite3.Connection, wanted: Wanted, limit: int, offset: int) -> tuple[list[SessionRecord], int]:
    """One page, newest first, and how many there are in all."""
    where, values = _where(wanted)
    rows = db.execute(
        f"SELECT {sessions.COLUMNS} FROM sessions WHERE {where} ORDER BY updated_at DESC, key LIMIT ? OFFSET ?",
        (*values, limit, offset),
    )
    found = [SessionRecord(*row) for row in rows]
    (total,) = db.execute(f"SELECT count(*) FROM sessions WHERE {where}", values).fetchone()
    return found, int(total)


def _where(wanted: Wanted) -> tuple[str, list[Any]]:
    parts: list[str] = ["updated_at >= ?", *(f"{name} = ?" for name in wanted.equal)]
    values: list[Any] = [wanted.since, *wanted.equal.values()]
    if wanted.search:
        parts.append("(instr(key, ?) OR instr(lower(coalesce(label, '')), ?) OR instr(coalesce(task_name, ''), ?))")
        values += [wanted.search.lower()] * 3
    for column, among in (("key", wanted.among), ("agent", wanted.agents)):
        if among is not None:
            parts.append(f"{column} IN ({_marks(among)})")
            values += among
    if wanted.without:
        parts.append(f"kind NOT IN ({_marks(wanted.without)})")
        values += wanted.without
    return " AND ".join(parts), values


def by_short_id(db: sqlite3.Connection, start: str, limit: int) -> list[str]:
    """Keys of the sessions whose session id begins so."""
    sql = "SELECT key FROM sessions WHERE session_id >= ? AND session_id < ? ORDER BY updated_at DESC LIMIT ?"
    return [key for (key,) in db.execute(sql, (start, start + "\x7f", limit))]


LOOKED_AT = 200
"""Of the sessions used last, those that `busiest` sorts by agent: an index finds them at once, however many there
are."""
Busiest = dict[str, tuple[int, list[tuple[str, float]]]]


def busiest(db: sqlite3.Connection, agents: Sequence[str], limit: int) -> Busiest:
    """How many sessions there are and the last that were used (key, when), by agent; of all under the empty name."""
    counts = dict(db.execute("SELECT agent, count(*) FROM sessions GROUP BY agent"))
    newest = [*db.execute("SELECT agent, key, updated_at FROM sessions ORDER BY updated_at DESC LIMIT ?", (LOOKED_AT,))]
    told: Busiest = {"": (sum(counts.values()), [(key, at) for _, key, at in newest[:limit]])}
    for agent in agents:
        mine = [(key, at) for whose, key, at in newest if whose == agent]
        told[agent] = (counts.get(agent, 0), mine[:limit])
    return told


def said_since(db: sqlite3.Connection, session: str, seq: int, limit: int, max_chars: int) -> list[Message]:
    """Messages after number `seq`, oldest first; fewer than `limit` when their texts are longer than `max_chars`
    together, but one if there is one."""
    sql = """SELECT session, seq, at, role, text, run, provenance, stop_reason FROM transcript
        WHERE session = ? AND seq > ? ORDER BY seq LIMIT ?"""
    found: list[Message] = []
    for whose, number, at, role, text, run, provenance, reason in db.execute(sql, (session, seq, limit)):
        message = Message(whose, number, at, role, text, run, json.loads(provenance) if provenance else None, reason)
        max_chars -= len(message.text)
        if found and max_chars < 0:
            break
        found.append(message)
    return found


def first_words(db: sqlite3.Connection, session: str, role: str, chars: int, *, last: bool = False) -> str | None:
    """The beginning of the first message of a role in a transcript, or of the last."""
    order = "seq DESC" if last else "seq"
    sql = f"SELECT substr(text, 1, ?) FROM transcript WHERE session = ? AND role = ? ORDER BY {order} LIMIT 1"
    row = db.execute(sql, (chars, session, role)).fetchone()
    return row[0] if row else None


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
