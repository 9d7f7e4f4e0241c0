"""Many rows with one statement. Owns the numbers of rows a statement is made for.

SQLite works without Python's lock while a statement runs, and our connections keep their statements: so a few sizes,
each prepared once, and the event loop goes on meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 64
"""Rows or values in one statement; SQLite allows 32,766 values, the widest table has some thirty columns."""


def insert(db: sqlite3.Connection, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows that have all `columns` (as SQL writes them)."""
    start = 0
    while start < len(rows):
        size = min(MOST, 1 << (len(rows) - start).bit_length() - 1)
        part = rows[start : start + size]
        db.execute(_insertion(table, columns, size, len(part[0])), tuple(chain.from_iterable(part)))
        start += size


def select(db: sqlite3.Connection, sql: str, values: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a query for any of these different `values`, which stand in it as `IN ({})`."""
    for part in parts(values):
        yield from db.execute(sql.format(marks(len(part))), part)


def parts(values: Sequence[T]) -> Iterator[list[T]]:
    """`values` in parts of a few sizes; the last value fills up the last part."""
    for start in range(0, len(values), MOST):
        part = list(values[start : start + MOST])
        yield part + part[-1:] * ((1 << (len(part) - 1).bit_length()) - len(part))


@cache
def marks(count: int) -> str:
    """So many places for values."""
    return ", ".join("?" * count)


@cache
def _insertion(table: str, columns: str, rows: int, width: int) -> str:
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([f'({marks(width)})'] * rows)}"
