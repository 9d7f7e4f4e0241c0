"""What can go wrong with the file, in words a person can act on. Owns the translation of SQLite's errors."""

from __future__ import annotations

import sqlite3

from gateway.protocol.errors import Refusal, unavailable

EXIT_EPOCH_LOST = 75
"""Exit status of a gateway that a newer one has replaced (EX_TEMPFAIL: nothing is wrong with the configuration)."""

_WORDS = {
    sqlite3.SQLITE_FULL: "the disk that holds the state directory is full; free some space",
    sqlite3.SQLITE_IOERR: "the disk that holds the state directory gives errors",
    sqlite3.SQLITE_READONLY: "the database cannot be written; check the owner and mode of the state directory",
    sqlite3.SQLITE_BUSY: "another program holds the database locked; close it",
    sqlite3.SQLITE_LOCKED: "another program holds the database locked; close it",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened; check the owner and mode of the state directory",
    sqlite3.SQLITE_CORRUPT: "the database is damaged; restore a copy of the state directory",
    sqlite3.SQLITE_NOTADB: "the database file is not a database; restore a copy of the state directory",
}


class EpochLost(Exception):
    """A newer gateway has taken the database; this one must not write and ends with EXIT_EPOCH_LOST."""


def refusal_of(error: sqlite3.Error) -> Refusal | None:
    """What a caller is told about a file that cannot be written now, or None when the error is a fault of ours."""
    words = _WORDS.get((getattr(error, "sqlite_errorcode", None) or 0) & 0xFF)
    if words is None:
        return None
    return unavailable(f"nothing was stored: {words} (SQLite: {error})", retry_after_ms=1000)
