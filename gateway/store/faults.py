"""What can go wrong with the file, in words a person can act on. Owns the translation of SQLite's errors.

Two kinds: what passes (a full disk, a lock) is a Refusal for whoever asked, and is tried again; what does not pass (a
damaged file, a newer schema) is `Unusable`, and names the commands that mend it."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from shlex import quote

from gateway.protocol.errors import Refusal, unavailable

EXIT_EPOCH_LOST = 75
"""Exit status of a gateway that a newer one has replaced (EX_TEMPFAIL: nothing is wrong with the configuration)."""

_WORDS = {
    sqlite3.SQLITE_FULL: ("full", "the disk that holds the state directory is full; free some space"),
    sqlite3.SQLITE_IOERR: ("io", "the disk that holds the state directory gives errors"),
    sqlite3.SQLITE_READONLY: (
        "readonly", "the database cannot be written; check the owner and mode of the state directory",
    ),
    sqlite3.SQLITE_BUSY: ("locked", "another program holds the database locked; close it"),
    sqlite3.SQLITE_LOCKED: ("locked", "another program holds the database locked; close it"),
    sqlite3.SQLITE_PROTOCOL: ("locked", "another program holds the database locked; close it"),
    sqlite3.SQLITE_CANTOPEN: (
        "cantopen", "the database cannot be opened; check the owner and mode of the state directory",
    ),
    sqlite3.SQLITE_CORRUPT: ("damaged", "the database is damaged; see peergate doctor"),
    sqlite3.SQLITE_NOTADB: ("damaged", "the database file is not a database; see peergate doctor"),
}  # fmt: skip
_READ_ONLY = "the disk that holds the state directory is mounted read-only; mount it writable"
_FULL_BYTES = 64 * 1024
"""A disk without room for this is full: the index beside the log grows by half of it at once."""


class EpochLost(Exception):
    """A newer gateway has taken the database; this one must not write and ends with EXIT_EPOCH_LOST."""


class Unwilling(Exception):
    """The disk does not let the database be opened now; later it may."""


class Unusable(Exception):
    """The file must not be used as it is, and starting again will not change that."""


class Damaged(Unusable):
    """The file is not what we wrote, `found` says why not. Nothing in it was changed."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(f"the database {path} cannot be used: {found}. {repair(path)}")
        self.found = found


class SchemaTooNew(Unusable):
    """The database was written by a newer build; opening it could destroy what that one relies on."""


def repair(path: Path) -> str:
    """The commands that mend the damaged database of a state directory, to be copied and run in any shell."""
    here, saved = f"--state-dir {quote(str(path.parent))}", quote(f"{path}.recovered")
    return (
        f"Nothing was changed. To go back to a backup: peergate restore {here} FILE. To save what can be read: "
        f"peergate recover {here} {saved} && peergate restore {here} {saved}"
    )


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that the file itself is wrong."""
    return isinstance(error, sqlite3.Error) and _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def refusal_of(
    error: sqlite3.Error | OSError, path: Path | None = None, *, what: str = "nothing was stored"
) -> Refusal | None:
    """What a caller is told about a file that cannot be used now, or None when the error is a fault of ours.

    With `path` the sentence names the directory and the room there is, also as details {cause, path, freeBytes}."""
    known = _WORDS.get(_code(error))
    if known is None:
        return None
    cause, words = known
    said = f"SQLite: {error}" if isinstance(error, sqlite3.Error) else str(error)
    if path is None:
        return unavailable(f"{what}: {words} ({said})", retry_after_ms=1000, cause=cause)
    free = room(path.parent)
    if cause in ("io", "readonly", "cantopen"):
        cause, words = told_by_the_system(path.parent) or (cause, words)
    left = "its free space is unknown" if free is None else f"{free / 1_048_576:.1f} MiB free"
    told = f"{what}: {words} ({path.parent}: {left}; {said})"
    return unavailable(told, retry_after_ms=1000, cause=cause, path=str(path.parent), freeBytes=free)


def room(directory: Path) -> int | None:
    """Bytes free for us where the directory is; None when nobody can say."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


def told_by_the_system(directory: Path) -> tuple[str, str] | None:
    """What the system says to a file of ours there: SQLite tells a full or a read-only disk as an I/O error where it
    maps files, and ext4 after an error refuses writes without saying so in its flags."""
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _FULL_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.EROFS:
            return "readonly", _READ_ONLY
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _WORDS[sqlite3.SQLITE_FULL]
    return None


def _code(error: sqlite3.Error | OSError) -> int:
    if isinstance(error, OSError):
        return sqlite3.SQLITE_IOERR
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
