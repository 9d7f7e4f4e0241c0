"""The tables of cron: jobs, slots, runs, words that wait, calls to be made. Rows in, rows out; `services.cron` decides.

Owns the numbers of the past that is kept, in `trim`."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from gateway.store import sessions

MAX_WORDS = 20
"""Of what waits for a session, handed to one run."""


class JobRow(msgspec.Struct, frozen=True):
    """A job as it is kept."""

    id: str
    version: int
    declaration_key: str | None
    record: str


class RunRow(msgspec.Struct, frozen=True):
    """A run of a job; `entry` is its line of the log."""

    run: str
    job: str
    slot: int
    attempt: int
    scheduled: int
    session: str | None
    status: str | None
    delivery: str | None
    ended_at: int | None
    entry: str


class CallRow(msgspec.Struct, frozen=True):
    """A call that is to be made; `signed`: with the operator's token."""

    id: str
    job: str
    settles: str | None
    url: str
    body: str
    attempts: int
    due_at: int
    signed: int = 0

    @property
    def origin(self) -> str:
        """Scheme and host of the address, as `_ORIGIN` finds them."""
        return "/".join(self.url.split("/", 3)[:3])


_ORIGIN = "substr(url, 1, 7 + instr(substr(url, 9) || '/', '/'))"
_RUN = ", ".join(RunRow.__struct_fields__)
_CALL = ", ".join(CallRow.__struct_fields__)

# --- jobs -------------------------------------------------------------------------------------------------------------


def load(db: sqlite3.Connection) -> list[JobRow]:
    """Every job."""
    return [JobRow(*row) for row in db.execute("SELECT id, version, declaration_key, record FROM cron_jobs")]


def version_of(db: sqlite3.Connection, job: str) -> int | None:
    """How often a job has been changed; None when it is gone."""
    row = db.execute("SELECT version FROM cron_jobs WHERE id = ?", (job,)).fetchone()
    return int(row[0]) if row else None


def get_job(db: sqlite3.Connection, job: str) -> JobRow | None:
    sql = "SELECT id, version, declaration_key, record FROM cron_jobs WHERE id = ?"
    row = db.execute(sql, (job,)).fetchone()
    return JobRow(*row) if row else None


def is_declared(db: sqlite3.Connection, key: str) -> bool:
    """Whether a job has this declaration key (`book.declared_as`)."""
    return db.execute("SELECT 1 FROM cron_jobs WHERE declaration_key = ?", (key,)).fetchone() is not None


def put_job(db: sqlite3.Connection, row: JobRow) -> None:
    """A new job, or one as it is now."""
    db.execute(
        "INSERT INTO cron_jobs (id, version, declaration_key, record) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
        "SET version = excluded.version, declaration_key = excluded.declaration_key, record = excluded.record",
        msgspec.structs.astuple(row),
    )


def remove_job(db: sqlite3.Connection, job: str) -> None:
    """Take a job away, and its slots; what it did stays in the log until that is trimmed."""
    db.execute("DELETE FROM cron_jobs WHERE id = ?", (job,))
    db.execute("DELETE FROM cron_slots WHERE job = ?", (job,))


# --- slots ------------------------------------------------------------------------------------------------------------


def take_slot(db: sqlite3.Connection, job: str, slot: int) -> bool:
    """Note that a slot is dealt with; False when it was before."""
    return db.execute("INSERT OR IGNORE INTO cron_slots (job, slot) VALUES (?, ?)", (job, slot)).rowcount == 1


# --- runs -------------------------------------------------------------------------------------------------------------


def put_run(db: sqlite3.Connection, row: RunRow) -> None:
    """A new run, or one as it is now."""
    marks = ", ".join("?" * len(RunRow.__struct_fields__))
    db.execute(
        f"INSERT INTO cron_runs ({_RUN}) VALUES ({marks}) ON CONFLICT (run) DO UPDATE SET status = excluded.status, "
        "delivery = excluded.delivery, ended_at = excluded.ended_at, entry = excluded.entry",
        msgspec.structs.astuple(row),
    )


def get_run(db: sqlite3.Connection, run: str) -> RunRow | None:
    row = db.execute(f"SELECT {_RUN} FROM cron_runs WHERE run = ?", (run,)).fetchone()
    return RunRow(*row) if row else None


def open_runs(db: sqlite3.Connection) -> list[RunRow]:
    """Those that go on, as far as cron knows."""
    return [RunRow(*row) for row in db.execute(f"SELECT {_RUN} FROM cron_runs WHERE ended_at IS NULL ORDER BY id")]


def page(
    db: sqlite3.Connection, equal: dict[str, Any], among: dict[str, Sequence[str]], search: str | None,
    newest_first: bool, limit: int, offset: int,
) -> tuple[list[RunRow], int]:  # fmt: skip
    """A page of ended runs, and how many there are in all. `equal` and `among` are columns and what they must be."""
    where = ["ended_at IS NOT NULL", *(f"{name} = ?" for name in equal)]
    values: list[Any] = [*equal.values()]
    for name, allowed in among.items():
        where.append(f"{name} IN ({', '.join('?' * len(allowed))})")
        values += allowed
    if search:
        where.append("instr(lower(entry), ?)")
        values.append(search.lower())
    said = " AND ".join(where)
    order = "DESC" if newest_first else "ASC"
    rows = db.execute(f"SELECT {_RUN} FROM cron_runs WHERE {said} ORDER BY id {order} LIMIT ? OFFSET ?",
                      (*values, limit, offset))  # fmt: skip
    found = [RunRow(*row) for row in rows]
    (total,) = db.execute(f"SELECT count(*) FROM cron_runs WHERE {said}", values).fetchone()
    return found, int(total)


def trim(db: sqlite3.Connection, jobs: Sequence[str], before: int, keep: int, limit: int) -> int:
    """Forget up to `limit` ended runs that are older than `before`, and of these jobs all but the newest `keep` with
    as many slots; how many runs that were."""
    gone = db.execute(
        "DELETE FROM cron_runs WHERE id IN (SELECT id FROM cron_runs WHERE ended_at < ? LIMIT ?)", (before, limit)
    ).rowcount
    for job in jobs:
        gone += db.execute(
            "DELETE FROM cron_runs WHERE ended_at IS NOT NULL AND job = ? AND id <= "
            "(SELECT id FROM cron_runs WHERE job = ? ORDER BY id DESC LIMIT 1 OFFSET ?)", (job, job, keep)
        ).rowcount  # fmt: skip
        db.execute(
            "DELETE FROM cron_slots WHERE job = ? AND slot <= "
            "(SELECT slot FROM cron_slots WHERE job = ? ORDER BY slot DESC LIMIT 1 OFFSET ?)", (job, job, keep)
        )  # fmt: skip
    return gone


def old_sessions(db: sqlite3.Connection, before: float, limit: int) -> list[str]:
    """Sessions of single runs of jobs in which nothing happens any more, nor below them."""
    where = f"kind = 'cron' AND updated_at < ? AND {sessions.IDLE}"
    sql = f"{sessions.AT_WORK} SELECT key FROM sessions WHERE {where} ORDER BY updated_at LIMIT ?"
    return [key for (key,) in db.execute(sql, (before, limit))]


def has_other_open_run(db: sqlite3.Connection, job: str, run: str) -> bool:
    """Whether another run of the job goes on, as far as cron knows."""
    sql = "SELECT 1 FROM cron_runs WHERE ended_at IS NULL AND job = ? AND run != ? LIMIT 1"
    return db.execute(sql, (job, run)).fetchone() is not None


# --- words that wait --------------------------------------------------------------------------------------------------


def add_words(db: sqlite3.Connection, session: str, text: str, at: int) -> None:
    """Something for the session's next run."""
    db.execute("INSERT INTO cron_words (session, text, at) VALUES (?, ?, ?)", (session, text, at))


def count_words(db: sqlite3.Connection, session: str) -> int:
    """How much waits for a session."""
    sql = "SELECT count(*) FROM cron_words WHERE session = ? AND run IS NULL"
    return int(db.execute(sql, (session,)).fetchone()[0])


def hand_words(db: sqlite3.Connection, session: str, run: str) -> None:
    """What waits for a session goes to this run, whichever attempt of it asks."""
    db.execute(
        "UPDATE cron_words SET run = ? WHERE id IN "
        "(SELECT id FROM cron_words WHERE session = ? AND run IS NULL ORDER BY id LIMIT ?)", (run, session, MAX_WORDS)
    )  # fmt: skip


def words_of(db: sqlite3.Connection, run: str) -> list[str]:
    """What a run was handed, oldest first."""
    return [text for (text,) in db.execute("SELECT text FROM cron_words WHERE run = ? ORDER BY id", (run,))]


def forget_words(db: sqlite3.Connection, before: int, limit: int) -> int:
    """Drop words that were left long ago and handed to a run which has ended and is not parked."""
    sql = """DELETE FROM cron_words WHERE id IN (SELECT id FROM cron_words WHERE run IS NOT NULL AND at < ?
        AND NOT EXISTS (SELECT 1 FROM runs WHERE id = cron_words.run AND ended_at IS NULL)
        AND NOT EXISTS (SELECT 1 FROM mailbox WHERE mailbox.run = cron_words.run AND state = 'dead') LIMIT ?)"""
    return db.execute(sql, (before, limit)).rowcount


# --- calls to be made -------------------------------------------------------------------------------------------------


def put_call(db: sqlite3.Connection, row: CallRow) -> None:
    """A call to be made, or one as it is now."""
    marks = ", ".join("?" * len(CallRow.__struct_fields__))
    db.execute(f"INSERT OR REPLACE INTO cron_calls ({_CALL}) VALUES ({marks})", msgspec.structs.astuple(row))


def due_call(
    db: sqlite3.Connection, until: int, latest: int, but: Collection[str], origins: Collection[str]
) -> CallRow | None:  # fmt: skip
    """The call that is due longest, but for these, and for those that go to one of these origins (`CallRow.origin`).
    One that is due after `latest` was written by a clock that was put back since, and is due now."""
    marks, others = (", ".join("?" * len(one)) for one in (but, origins))
    sql = f"""SELECT {_CALL} FROM cron_calls WHERE (due_at <= ? OR due_at > ?) AND id NOT IN ({marks})
        AND {_ORIGIN} NOT IN ({others}) ORDER BY due_at LIMIT 1"""
    row = db.execute(sql, (until, latest, *but, *origins)).fetchone()
    return CallRow(*row) if row else None


def next_call(db: sqlite3.Connection, after: int) -> int | None:
    """When the next call comes due that was not due at `after`."""
    row = db.execute("SELECT min(due_at) FROM cron_calls WHERE due_at > ?", (after,)).fetchone()
    return None if row[0] is None else int(row[0])


def count_calls(db: sqlite3.Connection) -> int:
    """How many calls are to be made."""
    return int(db.execute("SELECT count(*) FROM cron_calls").fetchone()[0])


def count_calls_of(db: sqlite3.Connection, job: str) -> int:
    """How many of them are a job's. Looks at all there are."""
    return int(db.execute("SELECT count(*) FROM cron_calls WHERE job = ?", (job,)).fetchone()[0])


def drop_call(db: sqlite3.Connection, call: str) -> None:
    """The call was made, or given up."""
    db.execute("DELETE FROM cron_calls WHERE id = ?", (call,))
