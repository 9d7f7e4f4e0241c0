"""From whatever schema is on disk to this build's. Owns PRAGMA user_version.

Each numbered file in `migrations/` is applied once, in a transaction of its own; a database newer than the build is
refused."""

from __future__ import annotations

import re
import sqlite3
from importlib import resources

_NAME = re.compile(r"^(\d{4})_\w+\.sql$")


class SchemaTooNew(Exception):
    """The database was written by a newer build; opening it could destroy what that one relies on."""


def migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every migration, in order. Numbers have no gaps, so that user_version says which ones were
    applied."""
    files = resources.files(__package__).joinpath("migrations")
    found = sorted((int(hit[1]), one.read_text()) for one in files.iterdir() if (hit := _NAME.match(one.name)))
    assert [number for number, _ in found] == list(range(1, len(found) + 1)), "migrations must be numbered 1, 2, 3, …"
    return found


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the schema up to date; returns its number. Raises SchemaTooNew. A step that fails leaves the one before it
    in place."""
    steps = migrations()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise SchemaTooNew(
            f"the database has schema {version}, this build knows {len(steps)}: start the newer peergate, or restore "
            "the copy of the state directory made before it ran"
        )
    for number, sql in steps[version:]:
        try:
            # One script: the step and its number are one transaction.
            connection.executescript(f"BEGIN EXCLUSIVE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")
        except BaseException:
            if connection.in_transaction:
                connection.rollback()
            raise
    return len(steps)
