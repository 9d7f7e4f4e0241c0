"""A copy of the database that is whole: made while it is in use, checked, and put in place in one step.

Owns what a backup file is: one file, mode 0600, no log beside it, everything that was committed when it began. Blocks;
whoever has an event loop calls it in a thread. Standard library only: the command line uses it as well."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gateway.store.examine import APPLICATION_ID, check, interrupted, open_to_look
from gateway.store.faults import room

STEP_PAGES = 2048
"""Pages between two looks at whether to go on: 8 MB, some 10 ms."""

_WITHOUT_LOG = b"\1\1"
"""The write and read version in the header of a database that is not in WAL mode."""


class BackupFailed(Exception):
    """There is no backup; the text says why. A file that was there before is still there."""


class NoPlace(BackupFailed):
    """The file that was to be made is what stands in the way, not the database; the text says how to go on."""


class Progress(msgspec.Struct):
    """Pages of a backup under way."""

    copied: int = 0
    total: int = 0


class Copied(msgspec.Struct, frozen=True):
    """A finished backup."""

    path: str
    bytes: int
    schema: int
    seconds: float


def copy(
    source: Path, target: Path, *, force: bool = False, step: Callable[[int, int], None] = lambda copied, total: None,
    opened: sqlite3.Connection | None = None,
) -> Copied:  # fmt: skip
    """Copy the database `source` to `target`, check every page and index of the copy, then give it its name.

    `step(copied, total)` is called between pieces, in pages; what it raises ends the copy. `opened`: a connection to
    take it from, which stays the caller's; a commit makes that copy begin anew. Raises BackupFailed."""
    began = time.monotonic()
    try:
        check_source(source, target)
        with fresh_file(target, force=force) as part:
            with contextlib.nullcontext(opened) if opened else _as_of_now(source) as origin:
                schema = _fill(origin, part, step, str(source))
            size = part.stat().st_size
    except sqlite3.Error as error:
        raise not_made(target, error) from error
    except OSError as error:  # a name that is too long, a directory that may not be entered
        raise NoPlace(f"{target} could not be written: {error}") from error
    return Copied(str(target), size, schema, time.monotonic() - began)


def check_source(source: Path, target: Path) -> None:
    """Raises BackupFailed where `source` is what would be overwritten, or a restore of it was interrupted."""
    if target.exists() and source.exists() and target.samefile(source):
        raise NoPlace(f"{target} is the database itself; name another file")
    if why := interrupted(source):
        raise BackupFailed(f"{target} was not made: {why}")


def not_made(target: Path, error: sqlite3.Error) -> BackupFailed:
    """Why the file did not come about. Only what is written can be full."""
    if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
        return BackupFailed(f"{target} was not made: {error}")
    free = (room(target.parent) or 0) / 1_048_576
    return NoPlace(f"{target} was not made: the disk is full; make room in {target.parent} ({free:.1f} MiB free)")


@contextmanager
def fresh_file(target: Path, *, force: bool) -> Iterator[Path]:
    """An empty file beside `target` (0600) that gets its name when the block ends well, and goes away when it does
    not. `force`: also the name of an earlier copy, but of no other file, so that a slip costs nobody his /etc/passwd.
    Raises BackupFailed."""
    if not target.parent.is_dir():
        raise NoPlace(f"{target.parent} is no directory; make it first, or name a file elsewhere")
    if target.is_dir():
        raise NoPlace(f"{target} is a directory; name a file in it")
    if target.exists() and not force:
        raise _taken(target)
    if target.exists() and not _may_go(target):
        raise NoPlace(f"{target} is no copy of a peergate database; --force overwrites nothing else, name another file")
    _clear_away(target)
    part = target.with_name(f".{target.name}.{os.getpid()}-{time.monotonic_ns():x}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        yield part
        sync(part)
        _name(part, target, force)
    except OSError as error:
        raise NoPlace(f"{target} could not be written: {error}") from error
    finally:
        for left in (part, *(part.with_name(part.name + end) for end in ("-journal", "-wal", "-shm"))):
            left.unlink(missing_ok=True)


def _may_go(target: Path) -> bool:
    """Whether a file is empty, or begins as a copy of ours does (https://www.sqlite.org/fileformat.html, 1.3). The
    database of some system begins otherwise: it has a log beside it, which a new file in its place would be given."""
    if not target.is_file():
        return False
    with target.open("rb") as file:
        head = file.read(100)
    ours = head.startswith(b"SQLite format 3\0") and int.from_bytes(head[68:72], "big") == APPLICATION_ID
    return not head or (ours and head[18:20] == _WITHOUT_LOG)


def _fill(origin: sqlite3.Connection, part: Path, step: Callable[[int, int], None], source: str) -> int:
    """Everything committed, into `part`; its schema number."""
    with contextlib.closing(_plain(part)) as copied:
        origin.backup(copied, pages=STEP_PAGES, progress=lambda _, left, total: step(total - left, total), sleep=0)
        copied.execute("PRAGMA journal_mode = DELETE")  # in the file's header: a reader then makes no log beside it
        findings = check(copied, full=True)
        if findings:
            raise BackupFailed(f"the copy of {source} is not whole: {'; '.join(findings)}")
        return int(copied.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def _as_of_now(source: Path) -> Iterator[sqlite3.Connection]:
    """In one transaction: later commits neither show up in the copy nor make it begin anew."""
    with contextlib.closing(open_to_look(source)) as origin:
        origin.execute("BEGIN")
        origin.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield origin


def _plain(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def _clear_away(target: Path) -> None:
    """What a process that was killed in the middle has left beside `target`."""
    for left in target.parent.iterdir():
        if left.name.startswith(f".{target.name}.") and left.name.endswith(".part"):
            pid = left.name.removeprefix(f".{target.name}.").partition("-")[0]
            if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
                left.unlink(missing_ok=True)


def _name(part: Path, target: Path, force: bool) -> None:
    """Give the finished file its name. Without `force` by link(2), which never takes the place of another file."""
    if force:
        part.replace(target)
    else:
        try:
            os.link(part, target)
        except FileExistsError:
            raise _taken(target) from None
    sync(target.parent)


def _taken(target: Path) -> NoPlace:
    return NoPlace(f"{target} exists already; name another file, or overwrite it with --force")


def sync(path: Path) -> None:
    """What was written to a file, or renamed in a directory, is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
