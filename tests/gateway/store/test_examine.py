"""A file that is not what we wrote is told from a power cut's torn end, is refused with the commands that mend it, and
stays as it was found."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.store.database import open_database
from gateway.store.examine import APPLICATION_ID, look
from gateway.store.faults import Damaged, SchemaTooNew
from gateway.store.migrate import migrations
from gateway.store.opening import connect, open_writing

NEWEST = len(migrations())

_WRITER = """
import os, signal, sys
from pathlib import Path
from gateway.store.opening import open_writing
db, _ = open_writing(Path(sys.argv[1]))
db.execute("PRAGMA wal_autocheckpoint = 0")
for number in range(int(sys.argv[2])):
    db.execute("INSERT INTO refusals (at, code, door, peer, reason) VALUES (?, 'x', 'y', 'z', ?)", (number, "r" * 900))
os.kill(os.getpid(), signal.SIGKILL)
"""


def died_while_writing(path: Path, rows: int = 40) -> Path:
    """A database whose last `rows` transactions are in the log alone, as a killed gateway leaves it."""
    done = subprocess.run([sys.executable, "-c", _WRITER, str(path), str(rows)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    return path


def closed(path: Path, rows: int = 400) -> Path:
    """A database that was closed in order."""
    db, _ = open_writing(path)
    db.execute("BEGIN")
    for number in range(rows):
        db.execute(
            "INSERT INTO refusals (at, code, door, peer, reason) VALUES (?, 'x', 'y', 'z', ?)", (number, "r" * 900)
        )
    db.execute("COMMIT")
    db.close()
    return path


def log_of(path: Path) -> Path:
    return Path(f"{path}-wal")


def poke(file: Path, at: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(data)


def frame(number: int) -> int:
    """Where a frame of the log begins (pages of 4096)."""
    return 32 + (number - 1) * (24 + 4096)


def cut(file: Path, size: int) -> None:
    os.truncate(file, size)


def state_of(path: Path) -> dict[str, str]:
    """Every byte of the database and its log. The index (-shm) is made from them and may be."""
    files = [file for file in (path, log_of(path)) if file.exists() and file.stat().st_size]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def rows(path: Path) -> int:
    with contextlib.closing(connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM refusals").fetchone()[0])


DAMAGE = {
    "another file": lambda path: path.write_bytes(b"something else entirely" * 500),
    "cut in the middle": lambda path: cut(path, path.stat().st_size // 2),
    "emptied while its log is there": lambda path: cut(path, 0),
    "gone while its log is there": lambda path: path.unlink(),
    "a log with a garbage header": lambda path: poke(log_of(path), 0, os.urandom(32)),
    "a log whose header has one wrong bit": lambda path: poke(log_of(path), 17, b"\x55"),
    "a log whose first frame is wrong": lambda path: poke(log_of(path), frame(1) + 500, b"garbage"),
    "a log that is wrong in the middle": lambda path: poke(log_of(path), frame(20) + 500, b"garbage"),
    "a log with a wrong frame header": lambda path: poke(log_of(path), frame(20) + 16, b"garbage!"),
    "a restore that was interrupted": lambda path: shutil.copy(path, f"{path}.restoring"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_with_the_commands_and_nothing_is_touched(tmp_path: Path, name: str):
    path = tmp_path / "peergate.db"
    closed(path)
    died_while_writing(path)
    DAMAGE[name](path)
    before = state_of(path)
    with pytest.raises(Damaged) as refused:
        open_writing(path, thorough=True)
    assert state_of(path) == before
    told = str(refused.value)
    assert f"the database {path} cannot be used: " in told
    here = f"--state-dir {tmp_path}"
    assert f"peergate restore {here} FILE" in told
    assert f"peergate recover {here} {path}.recovered && peergate restore {here} {path}.recovered" in told


def test_a_flipped_page_is_found_after_an_unclean_end(tmp_path: Path):
    path = closed(tmp_path / "peergate.db")
    size = path.stat().st_size
    died_while_writing(path, 3)
    for page in range(size // 4096 // 2, size // 4096 // 2 + 6):
        poke(path, page * 4096, os.urandom(64))
    with pytest.raises(Damaged):
        open_writing(path, thorough=True)


DAMAGE_AT_REST = {
    "a header of garbage": lambda path: poke(path, 0, os.urandom(100)),
    "a page of the schema flipped": lambda path: poke(path, 100, os.urandom(900)),
    "cut to its first page": lambda path: cut(path, 4096),
    "another program's": lambda path: poke(path, 68, b"\x12\x34\x56\x78"),
}


@pytest.mark.parametrize("name", DAMAGE_AT_REST)
def test_damage_to_a_closed_database_is_refused(tmp_path: Path, name: str):
    path = closed(tmp_path / "peergate.db")
    DAMAGE_AT_REST[name](path)
    before = state_of(path)
    with pytest.raises(Damaged):
        open_writing(path)
    assert state_of(path) == before


TORN = {
    "the last frame cut off": lambda log: cut(log, log.stat().st_size - 1000),
    "the last transaction unwritten": lambda log: poke(log, log.stat().st_size - 4096, bytes(4096)),
    "a new log whose header never came": lambda log: log.write_bytes(bytes(8192)),
}


@pytest.mark.parametrize("name", TORN)
def test_the_torn_end_of_a_power_cut_is_no_damage(tmp_path: Path, name: str):
    path = died_while_writing(closed(tmp_path / "peergate.db", 10), 20)
    TORN[name](log_of(path))
    db, _ = open_writing(path, thorough=True)
    db.close()
    assert rows(path) >= 10


def test_a_killed_gateways_database_is_opened_and_complete(tmp_path: Path):
    path = died_while_writing(closed(tmp_path / "peergate.db", 10), 25)
    assert look(path, NEWEST, thorough=True).unclean
    db, epoch = open_writing(path, thorough=True)
    db.close()
    assert (rows(path), epoch) == (35, 3)
    assert not look(path, NEWEST).unclean


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path):
    path = closed(tmp_path / "peergate.db")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {NEWEST + 1}")
    before = state_of(path)
    with pytest.raises(SchemaTooNew, match=f"has schema {NEWEST + 1}, this build knows {NEWEST}.*peergate restore"):
        open_writing(path)
    assert state_of(path) == before


def test_another_programs_database_is_not_turned_into_ours(tmp_path: Path):
    path = tmp_path / "peergate.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE songs (title TEXT)")
    before = state_of(path)
    with pytest.raises(Damaged, match="belongs to another program"):
        open_writing(path)
    assert state_of(path) == before


def test_our_files_carry_our_mark(tmp_path: Path):
    with contextlib.closing(sqlite3.connect(closed(tmp_path / "peergate.db"))) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


async def test_damage_that_shows_later_ends_the_gateway_with_the_commands(tmp_path: Path):
    path = closed(tmp_path / "peergate.db")
    size = path.stat().st_size
    for page in range(size // 4096 // 2, size // 4096):
        poke(path, page * 4096, os.urandom(4096))
    async with open_database(path) as database:
        with pytest.raises(Exception, match="damaged"):
            database.read(lambda db: db.execute("SELECT max(length(reason)) FROM refusals").fetchone())
        assert isinstance(database.fault, Damaged)
        assert database.broken.is_set()
