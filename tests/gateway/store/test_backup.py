"""A backup is whole, private and never in the way; a restore never loses what it replaces."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.protocol.errors import Refusal
from gateway.store.backup import BackupFailed, copy
from gateway.store.database import open_database
from gateway.store.examine import restoring
from gateway.store.faults import Damaged, SchemaTooNew
from gateway.store.filemark import FileMark
from gateway.store.opening import connect, open_writing
from gateway.store.restore import RestoreFailed, restore

NOTE = "INSERT INTO refusals (at, code, door, peer, reason) VALUES (?, 'x', 'y', 'z', ?)"


def database_of(path: Path, rows: int, text: str = "r") -> Path:
    db, _ = open_writing(path)
    db.execute("BEGIN")
    db.executemany(NOTE, [(number, text * 500) for number in range(rows)])
    db.execute("COMMIT")
    db.close()
    return path


def rows(path: Path) -> int:
    with contextlib.closing(connect(path, read_only=True)) as db:
        return int(db.execute("SELECT count(*) FROM refusals").fetchone()[0])


def ours(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir() if not file.name.endswith(("-shm", "-wal")))


async def test_a_backup_under_load_is_one_moment_and_holds_nobody_up(tmp_path: Path):
    database_of(tmp_path / "peergate.db", 20_000)
    async with open_database(tmp_path / "peergate.db") as database:
        acknowledged, begun = 20_000, trio.Event()

        async def write_on() -> None:
            nonlocal acknowledged
            while True:
                await database.write(lambda db: db.execute(NOTE, (1, "w" * 300)))
                acknowledged += 1
                begun.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_on)
            await begun.wait()
            least = acknowledged
            made = await database.copy(tmp_path / "backup.db")
            most = acknowledged + 1
            nursery.cancel_scope.cancel()
    assert least <= rows(tmp_path / "backup.db") <= most
    assert most > least + 3, "the writer stood still while the backup ran"
    assert stat.S_IMODE((tmp_path / "backup.db").stat().st_mode) == 0o600
    assert made.bytes == (tmp_path / "backup.db").stat().st_size


def test_a_backup_is_one_file_that_any_sqlite_reads(tmp_path: Path):
    copy(database_of(tmp_path / "peergate.db", 10), tmp_path / "sub.db")
    (tmp_path / "sub.db").chmod(0o400)
    with contextlib.closing(sqlite3.connect(tmp_path / "sub.db")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert db.execute("SELECT count(*) FROM refusals").fetchone() == (10,)
    assert not (tmp_path / "sub.db-wal").exists()


def test_a_file_that_is_there_is_only_replaced_when_told_so(tmp_path: Path):
    source, target = database_of(tmp_path / "peergate.db", 10), tmp_path / "old.db"
    copy(database_of(tmp_path / "other.db", 3), target)
    with pytest.raises(BackupFailed, match=r"exists already.*--force"):
        copy(source, target)
    assert rows(target) == 3
    copy(source, target, force=True)
    assert rows(target) == 10
    target.write_bytes(b"")
    copy(source, target, force=True)
    assert rows(target) == 10
    with pytest.raises(BackupFailed, match="is the database itself"):
        copy(source, source, force=True)
    with pytest.raises(BackupFailed, match="is no directory"):
        copy(source, tmp_path / "nowhere" / "x.db")


@pytest.mark.parametrize("theirs", ["text", "another program's database", "another system's database", "pipe"])
def test_a_file_that_is_no_copy_of_ours_is_not_replaced_whatever_is_told(tmp_path: Path, theirs: str):
    source, target = database_of(tmp_path / "peergate.db", 10), tmp_path / "theirs"
    if theirs == "pipe":
        os.mkfifo(target)
    elif theirs == "text":
        target.write_text("root:x:0:0:root:/root:/bin/bash\n")
    elif theirs == "another system's database":
        database_of(target, 3)
    else:
        with contextlib.closing(sqlite3.connect(target)) as db:
            db.execute("CREATE TABLE precious (x)")
    before = target.stat()
    with pytest.raises(BackupFailed, match="is no copy of a peergate database"):
        copy(source, target, force=True)
    assert target.stat().st_ino == before.st_ino
    assert sorted(path.name for path in tmp_path.iterdir()) == ["peergate.db", "theirs"]


@pytest.mark.parametrize("length", [250, 300])
def test_a_name_that_is_too_long_is_said_to_be(length, tmp_path: Path):
    source = database_of(tmp_path / "peergate.db", 1)
    with pytest.raises(BackupFailed, match=r"could not be written: .*File name too long"):
        copy(source, tmp_path / ("x" * length))


def test_a_backup_of_a_damaged_database_is_not_made(tmp_path: Path):
    source = database_of(tmp_path / "peergate.db", 2000)
    with source.open("r+b") as file:
        file.seek(source.stat().st_size // 2)
        file.write(os.urandom(8192))
    with pytest.raises(BackupFailed):
        copy(source, tmp_path / "backup.db")
    assert ours(tmp_path) == ["peergate.db"]


async def test_a_backup_nobody_waits_for_any_more_leaves_nothing(tmp_path: Path):
    database_of(tmp_path / "peergate.db", 40_000)
    async with open_database(tmp_path / "peergate.db") as database:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.copy, tmp_path / "backup.db")
            await trio.testing.wait_all_tasks_blocked()  # it is in its thread
            assert database.facts()["backup"].keys() == {"copied", "total"}
            nursery.cancel_scope.cancel()
        assert "backup" not in database.facts()
    assert ours(tmp_path) == ["peergate.db"]


async def test_a_database_that_is_put_back_while_it_is_saved_is_in_use_again(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("gateway.store.backup.STEP_PAGES", 1)
    path = tmp_path / "peergate.db"
    async with open_database(path) as database:
        aside = path.rename(tmp_path / "aside.db")
        with pytest.raises(Refusal, match="was removed while it was in use"):
            await database.read_slow(lambda db: None)
        assert not path.exists(), "nobody who only reads makes one"
        monkeypatch.setattr(database, "_mark", PutBack(database._mark, aside, path))
        with pytest.raises(BackupFailed, match="was put back meanwhile"):
            await database.copy(tmp_path / "saved.db")
        assert await database.write(lambda db: 1) == 1
        assert (await database.copy(tmp_path / "saved.db")).bytes > 0


class PutBack:
    """A mark of files that are put back once somebody has looked."""

    def __init__(self, mark: FileMark, aside: Path, path: Path) -> None:
        self._mark, self._aside, self._path = mark, aside, path

    def moved(self) -> Refusal | None:
        told = self._mark.moved()
        if self._aside.exists():
            self._aside.rename(self._path)
        return told


def test_a_restore_puts_the_backup_in_place_and_keeps_the_old_one(tmp_path: Path):
    path = database_of(tmp_path / "peergate.db", 10)
    copy(path, tmp_path / "backup.db")
    database_of(path, 5)
    done = restore(tmp_path / "backup.db", path, "T")
    assert rows(path) == 10
    assert done.kept == f"{path}.before-restore-T"
    assert rows(Path(done.kept)) == 15
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not restoring(path).exists()
    assert restore(Path(done.kept), path, "U").schema == done.schema
    assert rows(path) == 15


def test_a_restore_keeps_the_log_of_a_database_that_was_not_closed(tmp_path: Path):
    path = database_of(tmp_path / "live.db", 10)
    copy(path, tmp_path / "backup.db")
    live = connect(path)
    live.execute(NOTE, (1, "only in the log"))
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", tmp_path / f"peergate.db{end}")
    live.close()
    done = restore(tmp_path / "backup.db", tmp_path / "peergate.db", "T")
    assert rows(tmp_path / "peergate.db") == 10
    assert done.kept is not None
    assert rows(Path(done.kept)) == 11


def test_a_restore_needs_no_links(tmp_path: Path, monkeypatch):
    path = database_of(tmp_path / "peergate.db", 10)
    copy(path, tmp_path / "backup.db")
    database_of(path, 5)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))  # link(2) on FAT

    monkeypatch.setattr(os, "link", refuse)
    done = restore(tmp_path / "backup.db", path, "T")
    assert done.kept == f"{path}.before-restore-T"
    assert (rows(path), rows(Path(done.kept))) == (10, 15)


def test_what_cannot_be_used_is_not_restored(tmp_path: Path):
    path, other = database_of(tmp_path / "peergate.db", 10), tmp_path / "other.db"
    with pytest.raises(RestoreFailed, match="is no file"):
        restore(other, path, "T")
    other.touch()
    with pytest.raises(RestoreFailed, match="is empty"):
        restore(other, path, "T")
    other.write_bytes(b"x" * 9000)
    with pytest.raises(Damaged):
        restore(other, path, "T")
    with contextlib.closing(sqlite3.connect(tmp_path / "newer.db")) as db:
        db.execute("CREATE TABLE later (n)")
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(SchemaTooNew):
        restore(tmp_path / "newer.db", path, "T")
    assert rows(path) == 10
    assert not list(tmp_path.glob("*before-restore*"))


def test_a_restore_cut_off_between_its_steps_lets_nothing_start_until_it_is_done_again(tmp_path: Path, monkeypatch):
    path = database_of(tmp_path / "peergate.db", 10)
    copy(path, tmp_path / "backup.db")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("gateway.store.restore._keep", crash)
        with pytest.raises(KeyboardInterrupt):
            restore(tmp_path / "backup.db", path, "T")
    with pytest.raises(Damaged, match="a restore was interrupted"):
        open_writing(path)
    path.unlink()
    with pytest.raises(Damaged, match="a restore was interrupted"):
        open_writing(path)
    restore(tmp_path / "backup.db", path, "T")
    assert rows(path) == 10
