"""The audit's table keeps its lines against whoever writes, and lets only very old ones go."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.protocol.devices import AuditLine
from gateway.store import audit
from gateway.store.database import open_writing


@pytest.fixture
def db(tmp_path: Path):
    connection, _ = open_writing(tmp_path / "peergate.db")
    connection.execute("BEGIN")
    for number in range(3):
        audit.add(connection, number, AuditLine("test", str(number)))
    connection.execute("COMMIT")
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("UPDATE audit SET who = 'me' WHERE id = 2", "never changed"),
        ("DELETE FROM audit WHERE id = 1", "newest 100,000 lines"),
        ("DELETE FROM audit", "newest 100,000 lines"),
        ("INSERT OR REPLACE INTO audit SELECT 1, at, 'other', rule, device, address, who, conn, detail FROM audit "
         "WHERE id = 2", "never replaced"),
    ],
)  # fmt: skip
def test_a_line_is_neither_changed_nor_taken_away(db: sqlite3.Connection, sql: str, why: str):
    with pytest.raises(sqlite3.IntegrityError, match=why):
        db.execute(sql)
    assert [one["rule"] for one in audit.lines(db, event=None, since=None, limit=10)] == ["0", "1", "2"]


def test_lines_older_than_the_newest_hundred_thousand_go(db: sqlite3.Connection):
    sql = "INSERT INTO audit SELECT ?, at, event, rule, device, address, who, conn, detail FROM audit WHERE id = 3"
    assert audit.trim(db, 500) == 0
    db.execute(sql, (audit.KEPT + 2,))
    assert audit.trim(db, 1) == 1
    assert audit.trim(db, 500) == 1
    assert audit.trim(db, 500) == 0
    assert [one["id"] for one in audit.lines(db, event=None, since=None, limit=10)] == [3, audit.KEPT + 2]
