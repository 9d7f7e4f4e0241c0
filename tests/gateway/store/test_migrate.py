"""Every earlier schema, with data in every table, comes up to this one; and a migration is done or it is not."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.store.examine import APPLICATION_ID, check
from gateway.store.migrate import migrate, migrations
from gateway.store.opening import connect, open_writing
from tests.support.engine import finished_turn, open_box

NEWEST = len(migrations())
OLDER = range(1, NEWEST)
ROWS = 300


def value_for(column: tuple[Any, ...], number: int) -> Any:
    """Something that fits a column (PRAGMA table_info) and differs from row to row."""
    _, name, kind, _, _, key = column
    if name in ("provenance", "state_json", "data", "result"):
        return f'{{"n": {number}}}'
    return {"INTEGER": number, "REAL": float(number), "TEXT": f"{name} {number}"}[kind] if key or kind else None


def fill(db: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Rows in every table; what they are, by table."""
    told: dict[str, list[tuple[Any, ...]]] = {}
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        columns = db.execute(f"PRAGMA table_info({table})").fetchall()
        marks = ", ".join("?" * len(columns))
        if table != "meta":
            for number in range(1, ROWS + 1):
                db.execute(f"INSERT INTO {table} VALUES ({marks})", [value_for(one, number) for one in columns])
        told[table] = rows_of(db, table, [one[1] for one in columns])
    return told


def rows_of(db: sqlite3.Connection, table: str, columns: list[str]) -> list[tuple[Any, ...]]:
    return db.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1, 2").fetchall()


def old_database(path: Path, version: int) -> dict[str, tuple[list[str], list[tuple[Any, ...]]]]:
    """A database of an earlier build with data in it; its columns and rows by table."""
    with contextlib.closing(connect(path)) as db:
        migrate(db, upto=version)
        db.execute("BEGIN")
        told = fill(db)
        db.execute("COMMIT")
        if version == 1:
            db.execute("PRAGMA application_id = 0")  # the first builds had none
        names = {table: [one[1] for one in db.execute(f"PRAGMA table_info({table})")] for table in told}
        return {table: (names[table], rows) for table, rows in told.items()}


def schema_of(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Tables with their columns, and indexes, as SQLite sees them."""
    found = []
    for kind, name, sql in db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"):
        columns = sorted((one[1], one[2], one[3], one[5]) for one in db.execute(f"PRAGMA table_info({name})"))
        found.append((f"{kind} {name}", repr(columns) if kind == "table" else str(sql)))
    return found


@pytest.mark.parametrize("version", OLDER)
def test_data_of_every_earlier_schema_is_all_there_afterwards(tmp_path: Path, version: int):
    path = tmp_path / "peergate.db"
    before = old_database(path, version)
    db, epoch = open_writing(path, thorough=True)
    assert epoch == 1
    assert db.execute("PRAGMA user_version").fetchone() == (NEWEST,)
    assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert check(db, full=True) == []
    for table, (columns, rows) in before.items():
        if table != "meta":
            assert rows_of(db, table, columns) == rows, table
    with contextlib.closing(connect(tmp_path / "new.db")) as new:
        migrate(new)
        assert schema_of(db) == schema_of(new), "a migrated database differs from a new one"
    db.close()


@pytest.mark.parametrize("version", OLDER)
async def test_an_engine_goes_on_with_a_database_of_every_earlier_schema(tmp_path: Path, mock_clock, version: int):
    with contextlib.closing(connect(tmp_path / "peergate.db")) as db:
        migrate(db, upto=version)
        db.execute(
            "INSERT INTO sessions (key, session_id, agent, kind, status, created_at, updated_at, messages) "
            "VALUES ('agent:main:main', 'x', 'main', 'main', 'done', 1, 1, 1)"
        )
        db.execute("INSERT INTO transcript VALUES ('agent:main:main', 1, 1, 'user', 'from before', 'r', NULL, NULL)")
    async with open_box(tmp_path) as box:
        await finished_turn(box, "and now", "yes")
        assert box.texts() == [("user", "from before"), ("user", "and now"), ("assistant", "yes")]


_MIGRATE = """
import os, signal, sys, threading, time
from pathlib import Path
from gateway.store.opening import connect
from gateway.store.migrate import migrate
db = connect(Path(sys.argv[1]))
steps = 0
def trip():
    global steps
    steps += 1
    if steps == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return 0
db.set_progress_handler(trip, 200)
migrate(db)
"""


@pytest.mark.parametrize("moment", [1, 2, 4, 8, 16, 32])
def test_a_migration_killed_at_any_moment_is_done_or_not_begun(tmp_path: Path, moment: int):
    path = tmp_path / "peergate.db"
    before = old_database(path, 1)
    done = subprocess.run([sys.executable, "-c", _MIGRATE, str(path), str(moment)], check=False, timeout=60)
    assert done.returncode in (0, -signal.SIGKILL)
    for end in ("", "-wal"):  # a look at what was left, apart, so that the look changes nothing
        if Path(f"{path}{end}").exists():
            shutil.copy(f"{path}{end}", tmp_path / f"left.db{end}")
    with contextlib.closing(connect(tmp_path / "left.db")) as left:
        (version,) = left.execute("PRAGMA user_version").fetchone()
        with contextlib.closing(connect(tmp_path / "whole.db")) as whole:
            migrate(whole, upto=version)
            assert schema_of(left) == schema_of(whole)
    db, _ = open_writing(path, thorough=True)
    for table, (columns, rows) in before.items():
        if table != "meta":
            assert rows_of(db, table, columns) == rows
    db.close()
