"""Rows of devices, and rows that are not what was written: one never hides the others."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.protocol.devices import Device, DeviceToken, Pending, SetupCode
from gateway.store import devices
from gateway.store.opening import open_writing
from tests.gateway.store.test_migrate import fill
from tests.support.engine import open_box


@pytest.fixture
def db(tmp_path: Path):
    connection, _ = open_writing(tmp_path / "peergate.db")
    yield connection
    connection.close()


def phone(name: str = "phone") -> Device:
    token = DeviceToken(f"secret of {name}", "operator", ("operator.read",), 1)
    return Device(name, "key", ("operator",), ("operator.read",), 1, 1, "owner", tokens=(token,))


def test_what_is_written_is_read(db: sqlite3.Connection):
    request = Pending("r", "phone", "key", "operator", ("operator",), (), 1, "digest")
    code = SetupCode("s", "hash", "node", ("node",), (), 1, 2)
    devices.put_device(db, phone())
    devices.put_request(db, request, "10.0.0.7")
    devices.put_code(db, code, 9)
    loaded = devices.load(db)
    assert (loaded.devices, loaded.requests, loaded.codes) == ({"phone": phone()}, {"r": request}, {"hash": code})
    assert (loaded.damaged, loaded.damaged_elsewhere) == ({}, [])


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE devices SET record = '{' WHERE device_id = 'phone'",
        "UPDATE devices SET record = '{}' WHERE device_id = 'phone'",
        "UPDATE devices SET record = CAST(x'fffe' AS TEXT) WHERE device_id = 'phone'",
        "UPDATE devices SET record = replace(record, 'phone', 'laptop') WHERE device_id = 'phone'",
        "UPDATE device_tokens SET record = 'null' WHERE device_id = 'phone'",
    ],
)
def test_a_damaged_device_is_none_and_the_others_are_there(db: sqlite3.Connection, sql: str):
    devices.put_device(db, phone())
    devices.put_device(db, phone("laptop"))
    db.execute(sql)
    loaded = devices.load(db)
    assert loaded.devices == {"laptop": phone("laptop")}
    assert list(loaded.damaged) == ["phone"]
    assert devices.device(db, "phone") is None
    assert devices.delete_device(db, "phone")
    assert devices.load(db).damaged == {}


async def test_a_system_starts_with_nothing_but_damaged_records(tmp_path: Path, mock_clock):
    db, _ = open_writing(tmp_path / "peergate.db")
    for table in ("devices", "device_tokens", "pairing_requests", "setup_codes", "audit"):
        others = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert table in others
    with db:
        fill(db)
        for table in ("runs", "mailbox", "sessions", "transcript"):
            db.execute(f"DELETE FROM {table}")
    db.close()
    async with open_box(tmp_path) as box:
        assert len(box.services.pairing.damaged) == 300
        await box.send("hello")
        assert (await box.take())[1].message == "hello"
        assert box.services.pairing.audit.lines()["entries"]
        await box.services.pairing.clean()
