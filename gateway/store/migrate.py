"""From whatever schema is on disk to this build's. Owns PRAGMA user_version.

Each numbered file in `migrations/` is applied once, in a transaction of its own; a database newer than the build is
refused."""

from __future__ import annotations

import re
import sqlite3
from importlib import resources

from gateway.store.examine import APPLICATION_ID
from gateway.store.faults import SchemaTooNew

_MARK = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version"
_NAME = re.compile(r"^(\d{4})_\w+\.sql$")


def migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every migration, in order. Numbers have no gaps, so that user_version says which ones were
    applied."""
    files = resources.files(__package__).joinpath("migrations")
    found = sorted((int(hit[1]), one.read_text()) for one in files.iterdir() if (hit := _NAME.match(one.name)))
    assert [number for number, _ in found] == list(range(1, len(found) + 1)), "migrations must be numbered 1, 2, 3, …"
    return found


def migrate(connection: sqlite3.Connection, *, upto: int | None = None) -> int:
    """Bring the schema up to date, or to the number `upto`; returns its number. Raises SchemaTooNew. A step that fails
    leaves the one before it in place.

    The step, its number and our mark in the file's header are one transaction: a process killed at any moment leaves
    the schema before it or the one after it."""
    steps = migrations()[:upto]
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise SchemaTooNew(
            f"the database has schema {version}, this build knows {len(steps)}: start the newer peergate, or go "
            "back to a backup made before it ran: peergate restore FILE"
        )
    for number, sql in steps[version:]:
        try:
            connection.executescript(f"BEGIN EXCLUSIVE;\n{sql}\n{_MARK} = {number};\nCOMMIT;")
        except BaseException:
            if connection.in_transaction:
                connection.rollback()
            raise
    return len(steps)


__all__ = ["SchemaTooNew", "migrate", "migrations"]
