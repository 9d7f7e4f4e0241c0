"""What can still be read of a damaged database, as a new one. Owns how a hole is walked around.

The sqlite3 shell's `.recover` does more where it was built in; Debian's, for one, has it not. The damaged file is only
read. Blocks."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec

from gateway.store.backup import BackupFailed, NoPlace, check_source, fresh_file, not_made
from gateway.store.examine import check, open_to_look
from gateway.store.faults import is_damage
from gateway.store.migrate import migrate

LAST_ROW = 1 << 62
"""Where the search for rows behind a hole ends; its steps double, so it takes 62 of them."""
_WITHOUT_MAIL = """UPDATE runs SET state = 'interrupted', ended_at = ?, error = ? WHERE ended_at IS NULL
    AND id NOT IN (SELECT run FROM mailbox)"""
_LOST = "its message was lost when the database was damaged"


class Salvaged(msgspec.Struct, frozen=True):
    """Rows saved by table, and how many holes were met. Indexes need no saving."""

    path: str
    rows: dict[str, int]
    holes: int


def salvage(source: Path, target: Path, *, force: bool = False) -> Salvaged:
    """Save every row of `source` that can be read into a new database `target`; runs whose message is lost end there
    as interrupted. Raises BackupFailed, also when not even the list of tables can be read."""
    try:
        check_source(source, target)
        with fresh_file(target, force=force) as part, contextlib.closing(open_to_look(source)) as old:
            with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as new:
                told = _save(old, new)
            return Salvaged(str(target), *told)
    except sqlite3.Error as error:
        if is_damage(error):
            raise BackupFailed(f"nothing of {source} can be read ({error}); only a backup helps") from error
        raise not_made(target, error) from error
    except OSError as error:  # a name that is too long, a directory that may not be entered
        raise NoPlace(f"{target} could not be written: {error}") from error


def _save(old: sqlite3.Connection, new: sqlite3.Connection) -> tuple[dict[str, int], int]:
    (schema,) = old.execute("PRAGMA user_version").fetchone()
    found = {name for (name,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    migrate(new, upto=schema)
    rows: dict[str, int] = {}
    holes = 0
    new.execute("BEGIN")
    for (name,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
        rows[name] = 0
        if name not in found:
            holes += 1
            continue
        insert = _insertion(new, name)
        for row in _rows(old, name, new):
            if row is None:
                holes += 1
                continue
            # A damaged page may hold values no row of ours has; those are part of the hole.
            with contextlib.suppress(sqlite3.IntegrityError):
                rows[name] += new.execute(insert, row).rowcount
    new.execute(_WITHOUT_MAIL, (time.time() * 1000, _LOST))
    new.execute("COMMIT")
    if findings := check(new, full=True):
        raise BackupFailed(f"what was saved is not whole: {'; '.join(findings)}")
    return rows, holes


def _columns(db: sqlite3.Connection, table: str) -> list[tuple[str, int]]:
    """Name and place in the primary key (0: none) of each column."""
    return [(row[1], row[5]) for row in db.execute(f"PRAGMA table_info({table})")]


def _insertion(new: sqlite3.Connection, table: str) -> str:
    names = [name for name, _ in _columns(new, table)]
    # The new database has a first row in `meta`; the old one's counts.
    return f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def _rows(old: sqlite3.Connection, table: str, new: sqlite3.Connection) -> Iterator[tuple[Any, ...] | None]:
    """Every row that can be read, some perhaps twice; None for each hole."""
    columns = _columns(new, table)
    names = ", ".join(name for name, _ in columns)
    (sql,) = new.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    if "WITHOUT ROWID" in sql:
        keys = [name for name, place in sorted(columns, key=lambda one: one[1]) if place]
        yield from _from_both_ends(old, table, names, keys)
    else:
        yield from _around_holes(old, table, names)


def _from_both_ends(
    old: sqlite3.Connection, table: str, names: str, keys: list[str]
) -> Iterator[tuple[Any, ...] | None]:
    for order in ("ASC", "DESC"):
        by = ", ".join(f"{key} {order}" for key in keys)
        whole = yield from _until_hole(old, f"SELECT {names} FROM {table} ORDER BY {by}", ())
        if whole:
            return
        yield None


def _around_holes(old: sqlite3.Connection, table: str, names: str) -> Iterator[tuple[Any, ...] | None]:
    """Rows in order up to a hole; behind it from the first row a doubling step finds, and back from there to the
    hole."""
    forward = f"SELECT rowid, {names} FROM {table} WHERE rowid > ? ORDER BY rowid"
    backward = f"SELECT rowid, {names} FROM {table} WHERE rowid > ? AND rowid <= ? ORDER BY rowid DESC"
    last, step = -1, 0
    while last + step < LAST_ROW:
        begin, whole = last + step, False
        rows = _until_hole(old, forward, (begin,))
        landed = False
        while True:
            try:
                row = next(rows)
            except StopIteration as end:
                whole = bool(end.value)
                break
            if step and not landed:
                for earlier in _until_hole(old, backward, (last, begin)):
                    yield earlier[1:]
            landed, last = True, row[0]
            yield row[1:]
        if whole:
            if step and not landed:
                for earlier in _until_hole(old, backward, (last, LAST_ROW)):
                    yield earlier[1:]
            return
        if landed or not step:
            yield None
        step = 1 if landed or not step else step * 2


def _until_hole(old: sqlite3.Connection, sql: str, values: tuple[int, ...]) -> Generator[Any, None, bool]:
    """The rows of a query up to a damaged page; the generator's value is whether it came to the end."""
    try:
        yield from old.execute(sql, values)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return False
    return True
