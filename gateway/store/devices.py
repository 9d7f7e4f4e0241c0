"""The tables `devices`, `device_tokens`, `pairing_requests` and `setup_codes`: who was paired, and who wants to be.

Owns how a record is read that is not what we wrote: a device whose row is damaged is not a device, and never an error
for whoever reads the others."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from gateway.protocol.devices import Device, DeviceToken, Pending, SetupCode

T = TypeVar("T")

# As BLOB: text that is not UTF-8 would else end the whole query with an error.
_DEVICES = "SELECT CAST(device_id AS BLOB), CAST(record AS BLOB) FROM devices"
_TOKENS = "SELECT CAST(device_id AS BLOB), CAST(record AS BLOB) FROM device_tokens"
_REQUESTS = "SELECT CAST(request_id AS BLOB), CAST(record AS BLOB) FROM pairing_requests"
_CODES = "SELECT CAST(setup_id AS BLOB), CAST(record AS BLOB) FROM setup_codes"


class Loaded(msgspec.Struct):
    """Everything there is, and what could not be read: the row's id and why."""

    devices: dict[str, Device] = msgspec.field(default_factory=dict)
    requests: dict[str, Pending] = msgspec.field(default_factory=dict)
    codes: dict[str, SetupCode] = msgspec.field(default_factory=dict)
    damaged: dict[str, str] = msgspec.field(default_factory=dict)
    damaged_elsewhere: list[str] = msgspec.field(default_factory=list)


def load(db: sqlite3.Connection) -> Loaded:
    """All rows; codes by the hash of their token. Never raises for what a row holds."""
    found = Loaded()
    tokens: dict[str, list[DeviceToken]] = {}
    for key, token in _read(db, _TOKENS, (), DeviceToken):
        if isinstance(token, DeviceToken):
            tokens.setdefault(key, []).append(token)
        else:
            found.damaged[key] = f"a token: {token}"
    for key, device in _read(db, _DEVICES, (), Device):
        if isinstance(device, str) or key in found.damaged or device.device_id != key:
            found.damaged.setdefault(key, device if isinstance(device, str) else f"it says it is {device.device_id}")
        else:
            found.devices[key] = msgspec.structs.replace(device, tokens=tuple(tokens.get(key, ())))
    for key, request in _read(db, _REQUESTS, (), Pending):
        if isinstance(request, Pending) and request.request_id == key:
            found.requests[key] = request
        else:
            found.damaged_elsewhere.append(f"pairing request {key}")
    for key, code in _read(db, _CODES, (), SetupCode):
        if isinstance(code, SetupCode) and code.setup_id == key:
            found.codes[code.token_hash] = code
        else:
            found.damaged_elsewhere.append(f"setup code {key}")
    return found


def _read(db: sqlite3.Connection, sql: str, values: tuple[Any, ...], kind: type[T]) -> Iterator[tuple[str, T | str]]:
    """Key and record of each row, or why its record cannot be read."""
    for key, record in db.execute(sql, values):
        name = key.decode("utf-8", "backslashreplace")
        try:
            yield name, msgspec.json.decode(record, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            yield name, str(error)


def _packed(record: object) -> str:
    return msgspec.json.encode(record).decode()


# --- devices ----------------------------------------------------------------------------------------------------------


def device(db: sqlite3.Connection, device_id: str) -> Device | None:
    """A paired device with its tokens; None when it is unknown or its row is damaged."""
    for key, one in _read(db, f"{_DEVICES} WHERE device_id = ?", (device_id,), Device):
        tokens = [token for _, token in _read(db, f"{_TOKENS} WHERE device_id = ?", (device_id,), DeviceToken)]
        whole = tuple(token for token in tokens if isinstance(token, DeviceToken))
        if isinstance(one, Device) and one.device_id == key and len(whole) == len(tokens):
            return msgspec.structs.replace(one, tokens=whole)
    return None


def put_device(db: sqlite3.Connection, one: Device) -> None:
    """Write a device and its tokens in the place of whatever was there."""
    record = _packed(msgspec.structs.replace(one, tokens=()))
    db.execute("INSERT OR REPLACE INTO devices (device_id, record) VALUES (?, ?)", (one.device_id, record))
    db.execute("DELETE FROM device_tokens WHERE device_id = ?", (one.device_id,))
    rows = [(one.device_id, token.role, _packed(token)) for token in one.tokens]
    db.executemany("INSERT INTO device_tokens (device_id, role, record) VALUES (?, ?, ?)", rows)


def delete_device(db: sqlite3.Connection, device_id: str) -> bool:
    """Take a device away, also a damaged one; whether there was one."""
    tokens = db.execute("DELETE FROM device_tokens WHERE device_id = ?", (device_id,)).rowcount
    return db.execute("DELETE FROM devices WHERE device_id = ?", (device_id,)).rowcount + tokens > 0


def count_devices(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM devices").fetchone()[0])


# --- requests ---------------------------------------------------------------------------------------------------------


def request(db: sqlite3.Connection, request_id: str) -> Pending | None:
    """A request, also one whose time is over."""
    found = _read(db, f"{_REQUESTS} WHERE request_id = ?", (request_id,), Pending)
    return next((one for _, one in found if isinstance(one, Pending)), None)


def requests_of(db: sqlite3.Connection, device_id: str) -> list[Pending]:
    """The requests of a device, also those whose time is over."""
    found = _read(db, f"{_REQUESTS} WHERE device_id = ?", (device_id,), Pending)
    return [one for _, one in found if isinstance(one, Pending)]


def expired_requests(db: sqlite3.Connection, now: int) -> list[Pending]:
    found = _read(db, f"{_REQUESTS} WHERE expires_at <= ?", (now,), Pending)
    return [one for _, one in found if isinstance(one, Pending)]


def count_requests(db: sqlite3.Connection, now: int, *, beside: str, address: str | None = None) -> int:
    """How many wait, those of the device `beside` not counted; all, or those of one address."""
    sql = "SELECT count(*) FROM pairing_requests WHERE expires_at > ? AND device_id <> ?"
    if address is None:
        return int(db.execute(sql, (now, beside)).fetchone()[0])
    return int(db.execute(f"{sql} AND address = ?", (now, beside, address)).fetchone()[0])


def put_request(db: sqlite3.Connection, one: Pending, address: str) -> None:
    db.execute(
        "INSERT OR REPLACE INTO pairing_requests (request_id, device_id, address, expires_at, record) "
        "VALUES (?, ?, ?, ?, ?)",
        (one.request_id, one.device_id, address, one.expires_at_ms, _packed(one)),
    )


def delete_request(db: sqlite3.Connection, request_id: str) -> None:
    db.execute("DELETE FROM pairing_requests WHERE request_id = ?", (request_id,))


def drop_expired_requests(db: sqlite3.Connection, now: int) -> None:
    """Also those that cannot be read."""
    db.execute("DELETE FROM pairing_requests WHERE expires_at <= ?", (now,))


# --- setup codes ------------------------------------------------------------------------------------------------------


def code(db: sqlite3.Connection, token_hash: str) -> SetupCode | None:
    found = _read(db, f"{_CODES} WHERE token_hash = ?", (token_hash,), SetupCode)
    return next((one for _, one in found if isinstance(one, SetupCode)), None)


def codes_of(db: sqlite3.Connection, device_id: str) -> list[SetupCode]:
    """The codes a device has used."""
    found = _read(db, f"{_CODES} WHERE bound_to = ?", (device_id,), SetupCode)
    return [one for _, one in found if isinstance(one, SetupCode)]


def count_codes(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM setup_codes").fetchone()[0])


def put_code(db: sqlite3.Connection, one: SetupCode, forget_at: int) -> None:
    """Write a code; `forget_at` is when nobody asks for it any more (milliseconds)."""
    db.execute(
        "INSERT OR REPLACE INTO setup_codes (setup_id, token_hash, bound_to, forget_at, record) VALUES (?, ?, ?, ?, ?)",
        (one.setup_id, one.token_hash, one.bound_to, forget_at, _packed(one)),
    )


def drop_codes_of(db: sqlite3.Connection, device_id: str) -> None:
    """Codes a device has used are worth nothing from now on."""
    db.execute("DELETE FROM setup_codes WHERE bound_to = ?", (device_id,))


def drop_old_codes(db: sqlite3.Connection, now: int) -> None:
    db.execute("DELETE FROM setup_codes WHERE forget_at <= ?", (now,))


def codes_to_forget(db: sqlite3.Connection, now: int) -> list[SetupCode]:
    """What `drop_old_codes` would drop."""
    found = _read(db, f"{_CODES} WHERE forget_at <= ?", (now,), SetupCode)
    return [one for _, one in found if isinstance(one, SetupCode)]
