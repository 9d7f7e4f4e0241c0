"""Looking at a database file before anybody may write to it: is it ours, is it whole.

Owns what is checked and how. Changes nothing: a file that is refused stays as it was found, for whoever mends it. The
formats are SQLite's (https://www.sqlite.org/fileformat2.html, https://www.sqlite.org/walformat.html)."""

from __future__ import annotations

import contextlib
import mmap
import sqlite3
import struct
from pathlib import Path

import msgspec

from gateway.store.faults import Damaged, SchemaTooNew, is_damage

APPLICATION_ID = 0x50474442
"""`PGDB`, in the header of every database of ours (PRAGMA application_id)."""
WAL_MAGIC = (0x377F0682, 0x377F0683)
_WAL_HEADER, _FRAME_HEADER = 32, 24
_INDEX_FRAMES = slice(16, 20)
"""Where the wal-index header (the -shm file, native byte order) has the number of valid frames."""
FINDINGS = 3
"""How many findings of a check are told."""


class Found(msgspec.Struct, frozen=True):
    """What a file is. `schema` 0: new, nothing in it. `unclean`: whoever had it open last did not close it."""

    schema: int
    unclean: bool


def log_of(path: Path) -> Path:
    """The write-ahead log beside a database."""
    return path.with_name(f"{path.name}-wal")


def restoring(path: Path) -> Path:
    """The file that stands beside a database while a backup is put in its place."""
    return path.with_name(f"{path.name}.restoring")


def interrupted(path: Path) -> str | None:
    """Why the database at `path` is not to be read now, if so: a restore of it was killed, and its log may be elsewhere
    already."""
    left = restoring(path)
    return f"a restore was interrupted ({left} is there); run it again" if left.exists() else None


def look(path: Path, newest_schema: int, *, thorough: bool = False) -> Found:
    """See what is at `path`. Raises Damaged or SchemaTooNew; sqlite3.Error when the disk does not let us look.

    `thorough`: after an unclean end, read every page (quick_check; measured 0.5 s for 250 MB in the cache)."""
    log = log_of(path)
    unclean = _size(log) > 0
    if why := interrupted(path):
        raise Damaged(path, why)
    if _size(path) == 0:
        if unclean:
            raise Damaged(path, f"it is empty or missing, and {log} is there with {_size(log)} bytes that belong to it")
        return Found(0, False)
    try:
        with contextlib.closing(open_to_look(path)) as db:
            return _look_inside(db, path, newest_schema, unclean=unclean, thorough=thorough)
    except sqlite3.Error as error:
        if is_damage(error):
            raise Damaged(path, str(error)) from error
        raise


def open_to_look(path: Path) -> sqlite3.Connection:
    """A connection that cannot change the file, nor its log when it is closed."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)


def _look_inside(db: sqlite3.Connection, path: Path, newest_schema: int, *, unclean: bool, thorough: bool) -> Found:
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    # Databases made before there was an application id have 0 there, and a schema number.
    if application not in (0, APPLICATION_ID) or (application == 0 and schema == 0 and tables):
        raise Damaged(path, f"it belongs to another program (application id {application:#x})")
    if schema > newest_schema:
        raise SchemaTooNew(
            f"the database {path} has schema {schema}, this build knows {newest_schema}. Nothing was changed. "
            "Start the newer peergate, or go back to a backup made before it ran: peergate restore FILE"
        )
    if schema and not tables:
        raise Damaged(path, f"it has schema {schema} and no table")
    if unclean:
        _check_log(path)
        if thorough and (findings := check(db)):
            raise Damaged(path, "; ".join(findings))
    return Found(schema, unclean)


def check(db: sqlite3.Connection, *, full: bool = False) -> list[str]:
    """What SQLite finds wrong: nothing, or the first few findings. `full` also compares indexes with their tables."""
    pragma = "integrity_check" if full else "quick_check"
    try:
        rows = [str(row[0]) for row in db.execute(f"PRAGMA {pragma}({FINDINGS})")]
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return [str(error)]
        raise
    return [] if rows == ["ok"] else [line for row in rows for line in row.splitlines() if not line.startswith("***")]


def _check_log(path: Path) -> None:
    """Refuse a log whose damage SQLite would take for the torn end of a power cut, and drop what follows it.

    Every commit was on disk before the next one was written (synchronous=FULL). So a bad frame that is followed by a
    commit and by frames of a later one cannot be a torn end: it was good once."""
    log = log_of(path)
    with log.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _check_frames(path, log, data)


def _check_frames(path: Path, log: Path, data: mmap.mmap) -> None:
    header = data[:_WAL_HEADER]
    if not header.strip(b"\0"):
        return  # a power cut before the first commit of a new log
    if len(header) < _WAL_HEADER or not _header_is_good(header):
        raise Damaged(path, f"the header of its log {log} is wrong; what the log holds cannot be read")
    size, salts = struct.unpack(">I", header[8:12])[0] + _FRAME_HEADER, header[16:24]
    good = _good_frames(path)
    committed = False
    for at in range(_WAL_HEADER + good * size, len(data) - size + 1, size):
        if data[at + 8 : at + 16] != salts:
            continue  # left from before the log was begun anew
        if committed:
            lost = f"frame {good + 1} of its log {log} is wrong, and transactions follow it that were acknowledged"
            raise Damaged(path, lost)
        committed = data[at + 4 : at + 8] != b"\0\0\0\0"


def _header_is_good(header: bytes) -> bool:
    (magic,) = struct.unpack(">I", header[:4])
    if magic not in WAL_MAGIC:
        return False
    words = struct.unpack((">" if magic & 1 else "<") + "6I", header[:24])
    first = second = 0
    for index in range(0, 6, 2):
        first = (first + words[index] + second) & 0xFFFFFFFF
        second = (second + words[index + 1] + first) & 0xFFFFFFFF
    return (first, second) == struct.unpack(">2I", header[24:32])


def _good_frames(path: Path) -> int:
    """How many frames SQLite accepts. Asked of its index, which is right while a connection that has read is open."""
    index = path.with_name(f"{path.name}-shm")
    return int(struct.unpack("=I", index.read_bytes()[:32][_INDEX_FRAMES])[0])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
