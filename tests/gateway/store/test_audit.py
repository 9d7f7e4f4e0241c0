"""The audit's table keeps its lines against whoever writes, and lets only very old ones go, refusals first."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.protocol.devices import AuditLine
from gateway.store import audit
from gateway.store.opening import open_writing


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


LATER = "INSERT INTO audit SELECT ?, at, ?, rule, device, address, who, conn, detail FROM audit WHERE id = 3"


def ids(db: sqlite3.Connection) -> list[int]:
    return [one["id"] for one in audit.lines(db, event=None, since=None, limit=10)]


def test_refusals_older_than_the_newest_hundred_thousand_lines_go(db: sqlite3.Connection):
    db.execute(LATER, (4, "connect.refused"))
    db.execute(LATER, (5, "device.pair.approved.refused"))
    db.execute(LATER, (6, "connect.refused"))
    assert audit.trim(db, 500) == 0
    db.execute(LATER, (audit.KEPT + 5, "connect.refused"))
    assert audit.trim(db, 1) == 1
    assert audit.trim(db, 500) == 1
    assert audit.trim(db, 500) == 0
    assert ids(db) == [1, 2, 3, 6, audit.KEPT + 5]


def test_who_was_let_in_stays_for_a_hundred_thousand_more(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch):
    db.execute(LATER, (2 * audit.KEPT, "connect.refused"))
    assert audit.trim(db, 500) == 0
    monkeypatch.setattr(audit, "KEPT", 2)  # fewer than the trigger keeps: only what is older than those can go
    assert audit.trim(db, 500) == 1
    assert ids(db)[:-1] == [2, 3]
