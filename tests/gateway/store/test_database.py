"""The database: durable when told so, in order, nothing half written, and plain words when the disk is not willing."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.protocol.errors import Refusal
from gateway.store.database import open_database
from gateway.store.faults import Damaged, refusal_of
from gateway.store.migrate import SchemaTooNew, migrate, migrations
from gateway.store.opening import connect


@pytest.fixture
async def database(tmp_path, mock_clock):
    async with open_database(tmp_path / "peergate.db") as database:
        await database.write(lambda db: db.execute("CREATE TABLE notes (n INTEGER PRIMARY KEY, text TEXT) STRICT"))
        yield database


def add(text: str):
    def job(db: sqlite3.Connection) -> int:
        return int(db.execute("INSERT INTO notes (text) VALUES (?) RETURNING n", (text,)).fetchone()[0])

    return job


def notes(db: sqlite3.Connection) -> list[str]:
    return [text for (text,) in db.execute("SELECT text FROM notes ORDER BY n")]


async def test_what_was_written_can_be_read_and_is_there_after_a_restart(database, tmp_path):
    assert await database.write(add("one")) == 1
    assert database.read(notes) == ["one"]
    assert await database.read_slow(notes) == ["one"]
    other = connect(tmp_path / "peergate.db", read_only=True)
    assert notes(other) == ["one"]
    other.close()


async def test_many_writers_share_few_commits(database):
    before = database.commits
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(database.write, add(str(number)))
    assert len(database.read(notes)) == 200
    assert database.commits - before < 50


async def test_one_job_that_fails_takes_nobody_along(database):
    def broken(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO notes (text) VALUES ('half')")
        raise ValueError("changed my mind")

    failures: list[str] = []

    async def fail():
        try:
            await database.write(broken)
        except ValueError as error:
            failures.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, add("before"))
        nursery.start_soon(fail)
        nursery.start_soon(database.write, add("after"))
    assert failures == ["changed my mind"]
    assert sorted(database.read(notes)) == ["after", "before"]


async def test_memory_follows_in_the_order_of_commits_even_when_the_caller_gave_up(database):
    followed: list[int] = []
    with trio.CancelScope() as given_up:
        given_up.cancel()
        await database.write(add("one"), then=followed.append)
    database.post(add("two"), then=followed.append)
    await database.write(add("three"), then=followed.append)
    assert followed == [1, 2, 3]


async def test_a_lazy_write_rides_with_the_next_one(database):
    before = database.commits
    database.post(add("lazy"), lazy=True)
    await database.write(add("eager"))
    assert database.read(notes) == ["lazy", "eager"]
    assert database.commits == before + 1


async def test_memory_that_cannot_follow_breaks_the_database(database):
    def trip(_: int) -> None:
        raise RuntimeError("lost the thread")

    await database.write(add("one"), then=trip)
    assert database.broken.is_set()
    assert str(database.fault) == "lost the thread"


async def test_closing_finishes_what_was_posted(tmp_path):
    async with open_database(tmp_path / "x.db") as database:
        await database.write(lambda db: db.execute("CREATE TABLE notes (n INTEGER PRIMARY KEY, text TEXT) STRICT"))
        for number in range(10):
            database.post(add(str(number)), lazy=True)
    reader = connect(tmp_path / "x.db", read_only=True)
    assert len(notes(reader)) == 10
    reader.close()
    assert not (tmp_path / "x.db-wal").exists()


async def test_a_disk_that_recovers_as_the_database_is_closed_is_told_to_nobody(tmp_path):
    told: list[Refusal | None] = []
    async with open_database(tmp_path / "x.db") as database:
        await database.write(lambda db: db.execute("CREATE TABLE notes (n INTEGER PRIMARY KEY, text TEXT) STRICT"))
        await database.write(lambda db: db.execute("PRAGMA max_page_count = 60"))
        database.on_trouble += (told.append,)
        with pytest.raises(Refusal):
            await database.write(add("x" * 1_000_000))
        assert len(told) == 1
        database.post(add("small"))
    await trio.testing.wait_all_tasks_blocked()
    assert database.trouble is None
    assert len(told) == 1


async def test_a_full_disk_is_told_in_words_and_stores_nothing_of_the_batch(database):
    await database.write(lambda db: db.execute("PRAGMA max_page_count = 60"))
    with pytest.raises(Refusal) as refused:
        await database.write(add("x" * 1_000_000))
    said = refused.value.shape
    assert said.message.startswith(
        "nothing was stored: the disk that holds the state directory is full; free some space"
    )
    assert said.retryable
    assert await database.write(add("small")) == 1


def test_errors_of_ours_are_not_taken_for_the_disks():
    assert refusal_of(sqlite3.ProgrammingError("wrong number of bindings")) is None


async def test_a_file_that_is_no_database_is_told_in_words(tmp_path):
    (tmp_path / "x.db").write_bytes(b"something else entirely, and long enough to be looked at" * 50)
    with pytest.raises(Damaged, match="not a database"):
        async with open_database(tmp_path / "x.db"):
            pass


async def test_a_killed_writer_has_lost_nothing_it_acknowledged(tmp_path):
    """A real process that writes and says so, killed with SIGKILL in the middle."""
    path = tmp_path / "peergate.db"
    child = await trio.to_thread.run_sync(_write_and_die, path)
    acknowledged = [int(line) for line in child.split()]
    assert acknowledged
    async with open_database(path) as database:
        found = database.read(lambda db: [n for (n,) in db.execute("SELECT n FROM notes ORDER BY n")])
        assert found[: len(acknowledged)] == acknowledged
        assert database.read(lambda db: db.execute("PRAGMA integrity_check").fetchone()) == ("ok",)
        assert database.epoch == 2


_CHILD = """
import os, sys, trio, signal
from pathlib import Path
from gateway.store.database import open_database

async def main():
    async with open_database(Path(sys.argv[1])) as database:
        await database.write(lambda db: db.execute("CREATE TABLE notes (n INTEGER PRIMARY KEY, text TEXT) STRICT"))
        for number in range(1, 51):
            await database.write(lambda db: db.execute("INSERT INTO notes (n, text) VALUES (?, 'x')", (number,)))
            print(number, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""


def _write_and_die(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -9, done.stderr
    return done.stdout


# --- migrations -------------------------------------------------------------------------------------------------------


def test_a_new_file_gets_every_migration_and_an_old_one_none_again(tmp_path):
    connection = connect(tmp_path / "x.db")
    assert migrate(connection) == len(migrations())
    assert migrate(connection) == len(migrations())
    assert connection.execute("SELECT epoch FROM meta").fetchall() == [(0,)]
    connection.close()


def test_a_database_of_a_newer_build_is_left_alone(tmp_path):
    connection = connect(tmp_path / "x.db")
    connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SchemaTooNew, match="schema 99"):
        migrate(connection)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    steps = [*migrations(), (len(migrations()) + 1, "CREATE TABLE extra (n INTEGER);\nCREATE TABLE broken (;")]
    monkeypatch.setattr("gateway.store.migrate.migrations", lambda: steps)
    connection = connect(tmp_path / "x.db")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(steps) - 1,)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone() == (0,)
    connection.close()


def test_every_query_by_name_has_an_index(tmp_path):
    """The reads the loop does itself must not scan: asked of SQLite's own planner."""
    connection = connect(tmp_path / "x.db")
    migrate(connection)
    for query in (
        "SELECT * FROM runs WHERE id = ?",
        "SELECT * FROM runs WHERE session = ? AND ended_at IS NULL ORDER BY seq",
        "SELECT * FROM runs WHERE parent_session = ? AND kind = 'task' AND ended_at IS NULL ORDER BY seq",
        "SELECT * FROM runs WHERE parent_run = ? AND kind = 'task' AND ended_at IS NULL",
        "SELECT * FROM runs WHERE session = ? ORDER BY seq DESC LIMIT 1",
        "SELECT * FROM runs WHERE session = ? AND +parent_session = ?",
        "SELECT * FROM sessions WHERE key = ?",
        "SELECT * FROM sessions WHERE label = ? ORDER BY updated_at DESC",
        "SELECT * FROM sessions WHERE session_id = ?",
        "SELECT * FROM sessions WHERE spawned_by = ?",
        "SELECT * FROM transcript WHERE session = ? ORDER BY seq DESC LIMIT 1",
        "SELECT * FROM mailbox WHERE run = ?",
        "SELECT * FROM mailbox WHERE taken_by = ? AND state = 'taken'",
        "SELECT * FROM idempotency WHERE scope = ? AND key = ?",
        "SELECT * FROM refusals WHERE code = ? ORDER BY id DESC LIMIT 1",
        "WITH asked (scope, key) AS (VALUES (?, ?), (?, ?)) SELECT 1 FROM asked CROSS JOIN idempotency AS kept "
        "ON kept.scope = asked.scope AND kept.key = asked.key",
    ):
        values = ("x",) * query.count("?")
        plan = " / ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values))
        assert "SEARCH" in plan, f"{query}: {plan}"
    connection.close()
