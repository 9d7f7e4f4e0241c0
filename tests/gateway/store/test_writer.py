"""What many do at once: one transaction for a turn of the loop, one step for neighbours, and nobody suffers for
another."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
import trio

from gateway.store.database import open_database


@pytest.fixture
async def database(tmp_path, mock_clock):
    async with open_database(tmp_path / "peergate.db") as database:
        await database.write(lambda db: db.execute("CREATE TABLE notes (n INTEGER PRIMARY KEY, text TEXT) STRICT"))
        yield database


def add(text: str):
    return lambda db: db.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid


def notes(db: sqlite3.Connection) -> list[str]:
    return [text for (text,) in db.execute("SELECT text FROM notes ORDER BY n")]


async def test_what_one_turn_of_the_loop_writes_is_one_commit(database):
    before = database.commits
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(database.write, add(str(number)))
    assert database.commits == before + 1


def add_all(db: sqlite3.Connection, texts: list[str]) -> list[object]:
    """A step: refuses one text and breaks on another; tells how many it was given."""
    if "broken" in texts:
        db.execute("INSERT INTO notes (text) VALUES ('half')")
        raise ValueError("fell over")
    told: list[object] = []
    for text in texts:
        if text == "refused":
            told.append(KeyError(text))
        else:
            db.execute("INSERT INTO notes (text) VALUES (?)", (text,))
            told.append((text, len(texts)))
    return told


async def together(database, *texts: str) -> list[object]:
    """What became of each text, all of them given to `add_all` in one turn of the loop."""
    told: list[object] = [None] * len(texts)

    async def one(place: int, text: str) -> None:
        try:
            told[place] = await database.write_together(add_all, text)
        except (KeyError, ValueError) as error:
            told[place] = type(error).__name__

    async with trio.open_nursery() as nursery:
        for place, text in enumerate(texts):
            nursery.start_soon(one, place, text)
    return told


async def test_neighbours_of_one_step_are_done_together_and_each_hears_its_own_result(database):
    assert await together(database, "a", "refused", "b") == [("a", 3), "KeyError", ("b", 3)]
    assert sorted(database.read(notes)) == ["a", "b"]


async def test_a_step_that_falls_over_one_item_is_done_for_each_of_the_others(database):
    assert await together(database, "a", "broken", "b") == [("a", 1), "ValueError", ("b", 1)]
    assert sorted(database.read(notes)) == ["a", "b"]


async def test_a_step_that_forgets_an_item_stores_nothing_and_the_writer_lives(database):
    with pytest.raises(ValueError, match="zip"):
        await database.write_together(lambda db, items: [add("x")(db) for _ in items][1:], "a")
    assert await together(database, "b") == [("b", 1)]
    assert database.read(notes) == ["b"]


async def test_memory_follows_items_of_a_step_in_their_order_and_not_those_refused(database):
    followed: list[object] = []

    async def one(text: str) -> None:
        with contextlib.suppress(KeyError):
            await database.write_together(add_all, text, then=followed.append)

    async with trio.open_nursery() as nursery:
        for text in ("a", "refused", "b", "c"):
            nursery.start_soon(one, text)
    written = database.read(notes)
    assert sorted(written) == ["a", "b", "c"]
    assert followed == [(text, 4) for text in written]


async def test_jobs_between_items_of_a_step_keep_their_place(database):
    with trio.CancelScope() as given_up:
        given_up.cancel()
        await database.write_together(add_all, "a")
    database.post(add("b"))
    assert await database.write_together(add_all, "c") == ("c", 1)
    assert database.read(notes) == ["a", "b", "c"]
