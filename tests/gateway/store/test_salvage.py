"""What can be read of a damaged database is saved, around every hole, and the result is a database that starts."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from gateway.store import mailbox
from gateway.store.backup import BackupFailed
from gateway.store.faults import Damaged
from gateway.store.opening import connect, open_writing
from gateway.store.restore import restore
from gateway.store.salvage import salvage

ROWS = 3000
NOTE = "INSERT INTO refusals (id, at, code, door, peer, reason) VALUES (?, 1, 'x', 'y', 'z', ?)"
EVENT = "INSERT INTO run_events (run, attempt, seq, at, stream, data) VALUES ('r', 1, ?, 1, 's', ?)"


def filled(path: Path) -> Path:
    db, _ = open_writing(path)
    db.execute("BEGIN")
    db.executemany(NOTE, [(number * 3, "r" * 400) for number in range(1, ROWS + 1)])
    db.executemany(EVENT, [(number, "d" * 400) for number in range(ROWS)])
    db.execute("COMMIT")
    db.close()
    return path


def leaves(path: Path, table: str) -> list[int]:
    """Pages that hold rows of a table and nothing else: leaves of its tree (fileformat2 §1.6), found by content."""
    wanted = {"refusals": 0x0D, "run_events": 0x0A}[table]
    mark = {"refusals": b"r" * 400, "run_events": b"d" * 400}[table]
    data = path.read_bytes()
    return [at for at in range(4096, len(data), 4096) if data[at] == wanted and mark in data[at : at + 4096]]


def wreck(path: Path, pages: list[int]) -> None:
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page)
            file.write(b"\xff" * 64 + os.urandom(200))


HOLES = {"one": [100], "a row": [*range(100, 110)], "many": [5, 90, 91, 200], "the first": [0], "the last": [-1]}


@pytest.mark.parametrize("holes", HOLES.values(), ids=HOLES)
def test_rows_around_every_hole_are_saved(tmp_path: Path, holes: list[int]):
    path = filled(tmp_path / "peergate.db")
    pages = leaves(path, "refusals")
    wreck(path, [pages[hole] for hole in holes])
    done = salvage(path, tmp_path / "saved.db")
    with contextlib.closing(connect(tmp_path / "saved.db")) as db:
        assert db.execute("SELECT count(*) FROM refusals").fetchone() == (done.rows["refusals"],)
    per_page = ROWS / len(pages)
    assert ROWS - done.rows["refusals"] <= len(holes) * (per_page + 2)
    assert done.rows["run_events"] == ROWS
    assert done.holes >= 1


def test_a_table_without_rowids_is_read_from_both_ends(tmp_path: Path):
    path = filled(tmp_path / "peergate.db")
    pages = leaves(path, "run_events")
    wreck(path, [pages[len(pages) // 2]])
    done = salvage(path, tmp_path / "saved.db")
    assert ROWS - 3 * ROWS / len(pages) <= done.rows["run_events"] < ROWS
    assert done.rows["refusals"] == ROWS


def test_the_commands_a_damaged_database_is_refused_with_work(tmp_path: Path):
    path = filled(tmp_path / "peergate.db")
    wreck(path, leaves(path, "refusals")[40:42])
    db = sqlite3.connect(f"{path}")
    db.execute("UPDATE meta SET epoch = 7")
    db.commit()
    db.close()
    (tmp_path / "peergate.db-wal").write_bytes(b"garbage!" * 100)
    with pytest.raises(Damaged):
        open_writing(path, thorough=True)
    (tmp_path / "peergate.db-wal").unlink()
    saved = tmp_path / "peergate.db.recovered"
    salvage(path, saved)
    restore(saved, path, "T")
    db, epoch = open_writing(path, thorough=True)
    assert epoch == 8
    db.close()


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_the_damaged_database_is_never_overwritten(tmp_path: Path, journal: str):
    path = filled(tmp_path / "peergate.db")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA journal_mode = {journal}")
    before = path.stat()
    with pytest.raises(BackupFailed, match="is the database itself"):
        salvage(path, path, force=True)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_name_that_is_too_long_is_said_to_be(tmp_path: Path):
    with pytest.raises(BackupFailed, match=r"could not be written: .*File name too long"):
        salvage(filled(tmp_path / "peergate.db"), tmp_path / ("x" * 300))


def test_a_run_whose_message_is_lost_ends(tmp_path: Path):
    path = tmp_path / "peergate.db"
    db, _ = open_writing(path)
    db.executemany(
        "INSERT INTO runs (id, session, agent, kind, lane, state, sender, created_at) "
        "VALUES (?, 's', 'a', 'k', 'l', 'queued', '', 1)", [("lost",), ("kept",)],
    )  # fmt: skip
    mailbox.insert(db, "kept", "s", "hello", {}, 1.0, None)
    db.close()
    salvage(path, tmp_path / "saved.db")
    with contextlib.closing(connect(tmp_path / "saved.db")) as saved:
        states = dict(saved.execute("SELECT id, state FROM runs"))
    assert states == {"lost": "interrupted", "kept": "queued"}


def test_a_file_of_garbage_is_said_to_be_beyond_help(tmp_path: Path):
    path = tmp_path / "peergate.db"
    path.write_bytes(os.urandom(20_000))
    with pytest.raises(BackupFailed, match="only a backup helps"):
        salvage(path, tmp_path / "saved.db")
    assert [file.name for file in tmp_path.iterdir()] == ["peergate.db"]
