"""Many rows with one statement: whatever their number, all of them, once, in order."""

from __future__ import annotations

import sqlite3

import pytest

from gateway.store import many

SIZES = [0, 1, 2, 3, 5, 8, 63, 64, 65, 127, 200]


@pytest.fixture
def db():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE notes (n INTEGER PRIMARY KEY, text TEXT) STRICT")
    yield connection
    connection.close()


@pytest.mark.parametrize("size", SIZES)
def test_every_row_is_inserted_once(db, size):
    rows = [(number, f"note\0{number}") for number in range(size)]
    many.insert(db, "notes", "n, text", rows)
    assert db.execute("SELECT n, text FROM notes ORDER BY n").fetchall() == rows


@pytest.mark.parametrize("size", SIZES)
def test_every_value_is_looked_for_and_its_row_found_once(db, size):
    many.insert(db, "notes", "n, text", [(number, str(number)) for number in range(300)])
    wanted = [str(number) for number in range(0, size)]
    found = list(many.select(db, "SELECT text, count(*) FROM notes WHERE text IN ({}) GROUP BY text", wanted))
    assert sorted(found) == sorted((text, 1) for text in wanted)


def test_there_are_few_sizes_so_that_statements_are_prepared_once():
    assert {len(part) for size in range(1, 300) for part in many.parts(["x"] * size)} == {1, 2, 4, 8, 16, 32, 64}
