"""What a device loses, its open connection loses in the same breath; and an approval is of what was looked at."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.client.device_key import device_key
from tests.support.identity import config as errands
from tests.support.identity import started
from tests.support.lan import BOX, HAS_NETWORKS, NEEDS_NETWORKS, Lan, two_hosts
from tests.support.remote import Hung, converse, open_remote
from tests.support.system import System

TOKEN = "stolen by everybody"
PORT = 18789


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    if not HAS_NETWORKS:
        pytest.skip(NEEDS_NETWORKS)
    with two_hosts() as made:
        yield made


@pytest.fixture(scope="module")
def system(lan: Lan) -> Iterator[System]:
    """Mode token, on every address, with TLS."""
    gateway = {"port": PORT, "bind": "lan", "auth": {"token": TOKEN}}
    with started(errands("errand", gateway=gateway), wrapper=lan.at(lan.box)) as one:
        yield one


def paired(system: System, lan: Lan, directory: Path, **asked: Any) -> dict[str, Any]:
    """The order of a device that a person has approved."""
    order = {"host": BOX, "port": PORT, "tls": True, "auth": {"token": TOKEN}, "key": str(directory), **asked}
    refused = lan.on(lan.phone, lambda: converse(order))["refused"]
    system.call("device.pair.approve", {"requestId": refused["details"]["requestId"]})
    return order


def waiting(system: System) -> list[dict[str, Any]]:
    pending: list[dict[str, Any]] = system.call("device.pair.list")["pending"]
    return pending


def reject_all(system: System) -> None:
    for one in waiting(system):
        system.call("device.pair.reject", {"requestId": one["requestId"]})


@pytest.mark.parametrize(
    ("method", "params", "why"),
    [
        ("device.pair.remove", {}, "device-pair-removed"),
        ("device.token.rotate", {"role": "operator"}, "device-token-rotated"),
        ("device.token.revoke", {"role": "operator"}, "device-token-revoked"),
    ],
    ids=["removed", "rotated", "revoked"],
)
def test_what_a_device_has_lost_its_open_connection_cannot_do_in_the_same_breath(
    system: System, lan: Lan, tmp_path: Path, method: str, params: dict[str, Any], why: str
):
    order, device = paired(system, lan, tmp_path), device_key(str(tmp_path)).id
    with lan.on(lan.phone, lambda: open_remote(order)) as remote, system.wire() as wire:
        assert remote.greet(order)["ok"]
        assert remote.call("status")["ok"]
        (row,) = [one for one in wire.call("device.pair.list")["paired"] if one.get("connected")]
        assert row["deviceId"] == device
        wire.call(method, {"deviceId": device, **params})
        # The change has been answered: from here on nothing is.
        for number in range(20):
            try:
                remote.send({"type": "req", "id": f"late-{number}", "method": "status", "params": {}})
            except OSError:
                break
        hung = remote.until_closed()
    assert (hung.code, hung.text) == (4001, f"client invalidated: {why}")
    again = lan.on(lan.phone, lambda: converse(order))
    if method == "device.token.rotate":
        assert again["hello"], "it knows the shared token, and is told the new one"
    else:
        assert again["refused"]["code"] == "NOT_PAIRED"
        system.call("device.pair.reject", {"requestId": again["refused"]["details"]["requestId"]})


def test_a_device_that_removes_itself_is_answered_and_then_out(system: System, lan: Lan, tmp_path: Path):
    scopes = ["operator.read", "operator.pairing"]
    order, device = paired(system, lan, tmp_path, scopes=scopes), device_key(str(tmp_path)).id
    with lan.on(lan.phone, lambda: open_remote(order)) as remote:
        assert remote.greet(order)["ok"]
        answer = remote.call("device.pair.remove", {"deviceId": device})
        assert answer["ok"], answer
        for number in range(20):
            try:
                remote.send({"type": "req", "id": f"late-{number}", "method": "status", "params": {}})
            except OSError:
                break
        hung = remote.until_closed()
    assert (hung.code, hung.text) == (4001, "client invalidated: device-pair-removed")


def test_a_device_that_rotates_its_own_token_is_told_it_and_comes_back_by_it_alone(
    system: System, lan: Lan, tmp_path: Path
):
    order, device = (
        paired(system, lan, tmp_path, scopes=["operator.read", "operator.pairing"]),
        device_key(str(tmp_path)),
    )
    own = {**order, "auth": {"deviceToken": lan.on(lan.phone, lambda: converse(order))["hello"]["auth"]["deviceToken"]}}
    with lan.on(lan.phone, lambda: open_remote(own)) as asking, lan.on(lan.phone, lambda: open_remote(own)) as other:
        assert asking.greet(own)["ok"]
        assert other.greet(own)["ok"]
        answer = asking.call("device.token.rotate", {"deviceId": device.id, "role": "operator"})
        assert answer["payload"]["tokenDelivery"] == "in-band", answer
        for one in (asking, other):
            hung = one.until_closed()
            assert (hung.code, hung.text) == (4001, "client invalidated: device-token-rotated")
    assert "refused" in lan.on(lan.phone, lambda: converse(own))
    own["auth"] = {"deviceToken": answer["payload"]["token"]}
    assert "hello" in lan.on(lan.phone, lambda: converse(own))


def test_an_approval_is_of_what_was_looked_at(system: System, lan: Lan, tmp_path: Path):
    """Attack 11: the request is replaced between the look and the approval."""
    order = {
        "host": BOX, "port": PORT, "tls": True, "auth": {"token": TOKEN}, "key": str(tmp_path),
        "scopes": ["operator.read"],
    }  # fmt: skip
    lan.on(lan.phone, lambda: converse(order))
    (seen,) = waiting(system)
    lan.on(lan.phone, lambda: converse({**order, "scopes": ["operator.read", "operator.admin"]}))
    (now,) = waiting(system)
    assert seen["digest"] != now["digest"]
    for request in (seen["requestId"], now["requestId"]):
        ended = system.cli("call", "device.pair.approve", json.dumps({"requestId": request, "digest": seen["digest"]}))
        assert ended.returncode != 0, ended.stdout
    assert system.call("device.pair.list")["pending"] == [now]
    other = {**order, "key": str(tmp_path / "other")}
    lan.on(lan.phone, lambda: converse(other))
    both = system.cli("devices", "approve", "--latest")
    assert both.returncode == 1, "which of two is meant has to be said"
    reject_all(system)


def test_one_that_is_removed_while_it_is_let_in_does_not_stay(system: System, lan: Lan, tmp_path: Path):
    for number in range(12):
        order = paired(system, lan, tmp_path / str(number))
        device = device_key(order["key"]).id
        ready = threading.Barrier(2)

        def remove(device: str = device, ready: threading.Barrier = ready) -> None:
            with system.wire() as wire:
                ready.wait()
                wire.call("device.pair.remove", {"deviceId": device})

        remover = threading.Thread(target=remove)
        remover.start()
        with lan.on(lan.phone, partial(open_remote, order)) as remote:
            ready.wait()
            answer = remote.greet(order)
            remover.join()
            if answer["ok"]:
                with pytest.raises(Hung):
                    remote.call("status")
            else:
                assert answer["error"]["code"] == "NOT_PAIRED"
    reject_all(system)
