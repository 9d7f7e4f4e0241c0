"""The write-ahead log stays small, whoever reads meanwhile, and writers do not wait for readers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.store import writer
from gateway.store.database import open_database
from gateway.store.examine import log_of
from gateway.store.opening import LOG_BYTES, LOG_PAGES, connect

NOTE = "INSERT INTO refusals (at, code, door, peer, reason) VALUES (1, 'x', 'y', 'z', ?)"
PAGE = 4096


async def test_the_log_is_moved_into_the_database_while_writing(tmp_path: Path):
    async with open_database(tmp_path / "x.db") as database:
        for _ in range(60):
            await database.write(lambda db: db.executemany(NOTE, [("r" * 3000,)] * 100))
        assert log_of(database.path).stat().st_size < 2 * LOG_PAGES * (PAGE + 24)
        assert database.path.stat().st_size > 10 * 1024 * 1024


async def test_a_reader_that_holds_the_log_up_holds_no_writer_and_the_log_is_cut_afterwards(tmp_path: Path):
    async with open_database(tmp_path / "x.db") as database:
        reader = connect(database.path, read_only=True)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM refusals").fetchone()
        began = time.monotonic()
        for _ in range(100):
            await database.write(lambda db: db.executemany(NOTE, [("r" * 3000,)] * 100))
        assert time.monotonic() - began < 20
        assert log_of(database.path).stat().st_size > LOG_BYTES
        reader.execute("COMMIT")
        reader.close()
        for _ in range(3):  # moved, begun anew, cut
            await database.write(lambda db: db.execute(NOTE, ("after",)))
        assert log_of(database.path).stat().st_size <= LOG_BYTES


async def test_an_idle_database_has_its_log_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.01)
    async with open_database(tmp_path / "x.db") as database:
        await database.write(lambda db: db.execute(NOTE, ("only in the log at first",)))
        index = database.path.with_name("x.db-shm")
        deadline = time.monotonic() + 10
        while (seen := index.read_bytes())[96:100] != seen[16:20]:  # nBackfill, mxFrame (walformat §2.1)
            assert time.monotonic() < deadline
