"""The table `runs` and its events: rows in, rows out. No rule about runs is here; `services` decides, this writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from gateway.store import many


class RunRecord(msgspec.Struct, frozen=True):
    """One row. Fields are the columns, in their order."""

    seq: int
    id: str
    session: str
    agent: str
    kind: str
    lane: str
    state: str
    attempt: int
    parent_run: str | None
    parent_session: str | None
    sender: str
    label: str | None
    task_name: str | None
    announces: int
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    timeout_s: int | None = None
    deadline_at: float | None = None
    spawn: str | None = None
    worker_pid: int | None = None
    worker_start: int | None = None
    steering: int = 0
    text: str | None = None
    error: str | None = None
    stop_reason: str | None = None
    digest: str = ""
    attempts_allowed: int | None = None
    taken_at: float | None = None


PREVIEW_CHARS = 2000
"""Of a run's text where many runs are listed: a thousand whole texts could be a gigabyte."""
COLUMNS = ", ".join(RunRecord.__struct_fields__)
_SELECT = f"SELECT {COLUMNS} FROM runs"
_PREVIEW = _SELECT.replace(" text,", f" substr(text, 1, {PREVIEW_CHARS}),")


def get(db: sqlite3.Connection, run_id: str) -> RunRecord | None:
    row = db.execute(f"{_SELECT} WHERE id = ?", (run_id,)).fetchone()
    return RunRecord(*row) if row else None


def get_many(db: sqlite3.Connection, run_ids: Sequence[str]) -> dict[str, RunRecord]:
    """Those of these runs that there are, by id."""
    return {row[1]: RunRecord(*row) for row in many.select(db, f"{_SELECT} WHERE id IN ({{}})", run_ids)}


_NEW = (
    "seq", "id", "session", "agent", "kind", "lane", "state", "parent_run", "parent_session", "sender", "label",
    "task_name", "announces", "created_at", "timeout_s", "digest",
)  # fmt: skip
_new_values = attrgetter(*_NEW)


def insert_many(db: sqlite3.Connection, records: Sequence[RunRecord]) -> None:
    """Rows of runs nobody has begun: columns that say how a run went have their defaults. `seq` goes on from
    `newest_seq`."""
    many.insert(db, "runs", ", ".join(_NEW), [_new_values(record) for record in records])


def insert(db: sqlite3.Connection, **values: Any) -> RunRecord:
    """A new row; columns that are not given have their defaults."""
    names = ", ".join(values)
    marks = ", ".join("?" * len(values))
    row = db.execute(
        f"INSERT INTO runs ({names}) VALUES ({marks}) RETURNING {COLUMNS}", tuple(values.values())
    ).fetchone()
    return RunRecord(*row)


def update(db: sqlite3.Connection, run_id: str, **values: Any) -> RunRecord:
    """Change columns of one row that exists; returns the row as it is now."""
    settings = ", ".join(f"{name} = ?" for name in values)
    row = db.execute(
        f"UPDATE runs SET {settings} WHERE id = ? RETURNING {COLUMNS}", (*values.values(), run_id)
    ).fetchone()
    return RunRecord(*row)


def _records(rows: Iterable[Sequence[Any]]) -> list[RunRecord]:
    return [RunRecord(*row) for row in rows]


def unfinished(db: sqlite3.Connection) -> list[RunRecord]:
    """Everything that has not ended, oldest first."""
    return _records(db.execute(f"{_SELECT} WHERE ended_at IS NULL ORDER BY seq"))


def unfinished_of_session(db: sqlite3.Connection, session: str) -> list[RunRecord]:
    return _records(db.execute(f"{_SELECT} WHERE session = ? AND ended_at IS NULL ORDER BY seq", (session,)))


_BELOW = """WITH RECURSIVE below (session) AS (
        {} UNION SELECT key FROM below JOIN sessions ON spawned_by = below.session)
    SELECT id FROM below JOIN runs ON runs.session = below.session AND ended_at IS NULL
    WHERE kind IN ('task', 'announce')"""


def unfinished_below_run(db: sqlite3.Connection, run_id: str | None) -> list[str]:
    """Ids of the unfinished runs of sub-agents, and those that tell of one, that descend from a run; also through
    sub-agents that have ended, for a session stays as long as anything below it is at work."""
    sql = _BELOW.format("SELECT session FROM runs WHERE parent_run = ? AND kind = 'task'")
    return [name for (name,) in db.execute(sql, (run_id,))]


def unfinished_below_session(db: sqlite3.Connection, session: str | None) -> list[str]:
    """The same for those that descend from a session."""
    sql = _BELOW.format("SELECT key FROM sessions WHERE spawned_by = ?")
    return [name for (name,) in db.execute(sql, (session,))]


def quietly_aborted_of_run(db: sqlite3.Connection, run_id: str) -> list[RunRecord]:
    """Children of a run that were aborted and not announced though somebody expects to hear of them."""
    sql = f"""{_SELECT} AS child WHERE parent_run = ? AND kind = 'task' AND state = 'aborted' AND announces = 1
        AND NOT EXISTS (SELECT 1 FROM runs WHERE id = 'announce:' || child.id) ORDER BY seq"""
    return _records(db.execute(sql, (run_id,)))


def children_of_session(db: sqlite3.Connection, session: str, ended_since: float, limit: int) -> list[RunRecord]:
    """Task runs, newest first, texts cut: unfinished ones and those that ended at `ended_since` or later (0: all)."""
    children = f"{_PREVIEW} WHERE parent_session = ? AND kind = 'task'"
    if not ended_since:
        return _records(db.execute(f"{children} ORDER BY seq DESC LIMIT ?", (session, limit)))
    # By +seq, for a list in the order of an index is one of all the children there ever were.
    sql = f"{children} AND (ended_at IS NULL OR ended_at >= ?) ORDER BY +seq DESC LIMIT ?"
    return _records(db.execute(sql, (session, ended_since, limit)))


def children_named(db: sqlite3.Connection, session: str, name: str, limit: int) -> list[RunRecord]:
    """Task runs a name means, newest first: it is their run id, which alone needs no search, their session or their
    task name. Texts may be cut."""
    run = get(db, name)
    if run is not None and run.parent_session == session and run.kind == "task":
        return [run]
    task = f"{_PREVIEW} WHERE kind = 'task' AND"
    called = f"{task} parent_session = ? AND task_name = ? ORDER BY +seq DESC LIMIT ?"
    found = _records(db.execute(called, (session, name, limit)))
    found += _records(db.execute(f"{task} session = ? AND +parent_session = ? LIMIT ?", (name, session, limit)))
    return sorted({one.seq: one for one in found}.values(), key=lambda one: -one.seq)[:limit]


def reading_run(db: sqlite3.Connection, session: str) -> RunRecord | None:
    """The run in progress on a session if it reads messages that arrive while it runs."""
    sql = f"{_SELECT} WHERE session = ? AND ended_at IS NULL AND steering = 1 AND state IN ('running', 'waiting')"
    row = db.execute(sql, (session,)).fetchone()
    return RunRecord(*row) if row else None


def waits_from(db: sqlite3.Connection, session: str, sender: str) -> bool:
    """Whether a message of this sender waits for a turn of its own in this session."""
    sql = """SELECT EXISTS (SELECT 1 FROM runs JOIN mailbox ON mailbox.run = runs.id
        WHERE runs.session = ? AND runs.sender = ? AND runs.ended_at IS NULL
        AND runs.state IN ('queued', 'starting') AND mailbox.state = 'new')"""
    return bool(db.execute(sql, (session, sender)).fetchone()[0])


def count_unfinished_children(db: sqlite3.Connection, session: str) -> int:
    sql = "SELECT count(*) FROM runs WHERE parent_session = ? AND kind = 'task' AND ended_at IS NULL"
    return int(db.execute(sql, (session,)).fetchone()[0])


def count_unfinished(db: sqlite3.Connection, sessions: Sequence[str]) -> dict[str, int]:
    """How many there are of each of these sessions that has any."""
    sql = "SELECT session, count(*) FROM runs WHERE session IN ({}) AND ended_at IS NULL GROUP BY session"
    return dict(many.select(db, sql, sessions))


def page(
    db: sqlite3.Connection, filters: dict[str, Any], limit: int, offset: int, *, unfinished: bool = False
) -> list[RunRecord]:
    """Newest first, texts cut; `filters` are columns and the values they must have. `unfinished`: only those, and what
    is at work before what is queued."""
    where = " AND ".join([*(f"{name} = ?" for name in filters), *(["ended_at IS NULL"] if unfinished else [])]) or "1"
    # By +seq, for in the order of seq the few that have not ended are looked for among all there ever were.
    order = "state = 'queued', +seq" if unfinished else "seq"
    sql = f"{_PREVIEW} WHERE {where} ORDER BY {order} DESC LIMIT ? OFFSET ?"
    return _records(db.execute(sql, (*filters.values(), limit, offset)))


# --- events -----------------------------------------------------------------------------------------------------------


class RunEvent(msgspec.Struct, frozen=True):
    """One thing a worker reported; `seq` is the worker's own."""

    seq: int
    stream: str
    data: Any


def add_events(
    db: sqlite3.Connection, run_id: str, attempt: int, at: float, events: Iterable[RunEvent]
) -> list[RunEvent]:
    """Write events; returns those that were not there yet."""
    sql = "INSERT OR IGNORE INTO run_events (run, attempt, seq, at, stream, data) VALUES (?, ?, ?, ?, ?, ?)"
    new: list[RunEvent] = []
    for one in events:
        packed = json.dumps(one.data, separators=(",", ":"))
        if db.execute(sql, (run_id, attempt, one.seq, at, one.stream, packed)).rowcount:
            new.append(one)
    return new


def stream_of(db: sqlite3.Connection, run_id: str, attempt: int, stream: str) -> list[Any]:
    """The data of one stream's events, in order."""
    sql = "SELECT data FROM run_events WHERE run = ? AND attempt = ? AND stream = ? ORDER BY seq"
    return [json.loads(data) for (data,) in db.execute(sql, (run_id, attempt, stream))]


def drop_events_of_ended(
    db: sqlite3.Connection, since: tuple[float, int], before: float, limit: int
) -> tuple[float, int]:
    """Forget the events of up to `limit` runs that ended after `since` and until `before`; their text and error stay.
    Returns where to go on: when the last of them ended, and its number, for many may end at once."""
    sql = """SELECT id, ended_at, seq FROM runs WHERE ended_at >= ? AND ended_at < ? AND (ended_at > ? OR seq > ?)
        ORDER BY ended_at, seq LIMIT ?"""
    found = db.execute(sql, (since[0], before, *since, limit)).fetchall()
    db.executemany("DELETE FROM run_events WHERE run = ?", [(run_id,) for run_id, _, _ in found])
    return (before, -1) if len(found) < limit else (float(found[-1][1]), int(found[-1][2]))


def reopen(db: sqlite3.Connection, run: RunRecord, state: str, attempts: int) -> RunRecord:
    """An ended run begins to wait again, with so many more attempts; what it was is forgotten."""
    return update(
        db, run.id, state=state, attempts_allowed=run.attempt + attempts, spawn=None, started_at=None, ended_at=None,
        deadline_at=None, text=None, error=None, stop_reason=None, taken_at=None,
    )  # fmt: skip


def rename(db: sqlite3.Connection, run_id: str, new_id: str) -> None:
    """Give an ended run another id, so that its own is free again."""
    db.execute("UPDATE runs SET id = ? WHERE id = ?", (new_id, run_id))
    db.execute("UPDATE mailbox SET run = ? WHERE run = ?", (new_id, run_id))


_UNPARKED = "NOT EXISTS (SELECT 1 FROM mailbox WHERE run = runs.id AND state = 'dead')"


def drop_ended(db: sqlite3.Connection, ended_before: float, up_to_seq: int | None, limit: int) -> int:
    """Forget up to `limit` runs that ended before and are not parked, with their messages and actions. `up_to_seq`:
    only those accepted so early."""
    where = f"ended_at < ? AND {_UNPARKED}" + ("" if up_to_seq is None else " AND seq <= ?")
    values = (ended_before,) if up_to_seq is None else (ended_before, up_to_seq)
    order = "ended_at" if up_to_seq is None else "seq"
    rows = db.execute(f"SELECT id FROM runs WHERE {where} ORDER BY {order} LIMIT ?", (*values, limit)).fetchall()
    for sql in (
        "DELETE FROM run_events WHERE run = ?",
        "DELETE FROM tool_calls WHERE run = ?",
        "DELETE FROM mailbox WHERE run = ?",
        "DELETE FROM runs WHERE id = ?",
    ):
        db.executemany(sql, rows)
    return len(rows)


def newest_seq(db: sqlite3.Connection) -> int:
    """The number of the run accepted last."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM runs").fetchone()[0])
