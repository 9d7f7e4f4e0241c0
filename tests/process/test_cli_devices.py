"""Pairing by the command line of a real system: what waited before a restart is approved, and outlives the next."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from gateway.protocol.devices import Pending, digest_of
from gateway.store import devices
from gateway.store.opening import open_writing
from tests.support.paired import READ, WRITE, device_id
from tests.support.system import System, eventually


def leave_requests(system: System, *names: str) -> None:
    """As a gateway before would have left them, had these devices come to its outer door."""
    system.state.mkdir(mode=0o700, exist_ok=True)
    db, _ = open_writing(system.state / "peergate.db")
    now = round(time.time() * 1000)
    for name in names:
        who, scopes = device_id(name), (READ, WRITE)
        digest = digest_of(who, name, ("operator",), scopes)
        one = Pending(f"request-{name}", who, name, "operator", ("operator",), scopes, now, digest, display_name=name)
        devices.put_request(db, one, name)
    db.close()


@pytest.fixture
def system() -> Iterator[System]:
    made = System({})
    try:
        yield made
    finally:
        made.remove()


def paired(system: System) -> list[str]:
    told = json.loads(system.cli("devices", "list", "--json").stdout)
    return sorted(one["displayName"] for one in told["paired"])


def test_one_that_waits_is_approved_by_one_command_and_stays_so(system: System):
    leave_requests(system, "phone", "thief")
    system.start()
    both = system.cli("devices", "approve", "--latest")
    assert (both.returncode, paired(system)) == (1, [])
    assert "peergate devices approve request-thief" in both.stderr
    assert system.cli("devices", "reject", "request-t").returncode == 0
    one = system.cli("devices", "approve", "--latest")
    assert one.returncode == 0, one.stderr
    assert "operator: read, write from now on" in one.stdout
    os.kill(system.gateway_pid(), signal.SIGKILL)
    assert eventually(lambda: paired(system) == ["phone"])
    audit = [each["event"] for each in system.call("audit.list")["entries"]]
    assert audit == ["device.pair.rejected", "device.pair.approved"]
    assert "device.pair.approved" in system.cli("audit").stdout


def test_a_damaged_record_neither_stops_the_start_nor_the_unix_doors(system: System):
    leave_requests(system, "phone")
    db, _ = open_writing(system.state / "peergate.db")
    db.execute("INSERT INTO devices VALUES (?, ?)", (device_id("tablet"), "{"))
    db.close()
    system.start()
    assert system.cli("health").returncode == 0
    assert system.cli("send", "main", "hello").returncode == 0
    told = system.cli("doctor")
    assert (told.returncode, f"the record of {device_id('tablet')} is damaged" in told.stdout) == (1, True)
    assert system.cli("devices", "remove", device_id("tablet")).returncode == 0
    assert "damaged" not in system.cli("devices").stdout
