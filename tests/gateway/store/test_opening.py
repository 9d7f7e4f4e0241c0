"""A database that is not open at once: whoever waits for it hears why."""

from __future__ import annotations

import sqlite3
import threading

from gateway.store.database import open_database
from gateway.store.migrate import migrate, migrations


async def test_opening_that_takes_long_says_again_and_again_what_it_does(tmp_path, monkeypatch):
    heard: list[str] = []
    let_go = threading.Event()

    def slowly(connection: sqlite3.Connection) -> int:
        let_go.wait(20)
        return migrate(connection)

    monkeypatch.setattr("gateway.store.opening.migrate", slowly)
    monkeypatch.setattr("gateway.store.opening.OPEN_AGAIN_SECONDS", 0.01)

    def hear(what: str) -> None:
        heard.append(what)
        if len(heard) > 3 and "schema" in what:
            let_go.set()

    async with open_database(tmp_path / "x.db", thorough=True, waiting=hear):
        assert heard[-1] == f"the database is brought from schema 0 to {len(migrations())}"
        assert all(what.startswith("the database is ") for what in heard)
