"""Descent outranks every credential at the outer door: an agent's programs come in by no secret, key, header or mode,
at no address; the same program started by a person does."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.identity import config as errands
from tests.support.identity import errand, started, tool
from tests.support.lan import BOX, BOX6, HAS_NETWORKS, NEEDS_NETWORKS, Lan, two_hosts
from tests.support.remote import PROGRAM, SCOPES, WORKER, connect_params, converse, dial, open_remote
from tests.support.system import System, eventually

TOKEN = "stolen by everybody"
PORT, SECOND, THIRD = 18789, 18790, 18791
USER = "X-Forwarded-User"
HEADERS = [[USER, "ann"], ["X-Forwarded-For", "203.0.113.9"]]


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    if not HAS_NETWORKS:
        pytest.skip(NEEDS_NETWORKS)
    with two_hosts() as made:
        yield made


def settings(**gateway: Any) -> dict[str, Any]:
    told = errands("errand", gateway={"port": PORT} | gateway)
    told["agents"]["entries"]["itself"] = WORKER
    return told


@pytest.fixture(scope="module")
def system(lan: Lan) -> Iterator[System]:
    """Mode token, on every address, with TLS."""
    with started(settings(bind="lan", auth={"token": TOKEN}), wrapper=lan.at(lan.box)) as one:
        yield one


def paired(system: System, lan: Lan, directory: Path, **order: Any) -> dict[str, Any]:
    """The order of a device that a person has approved: its key is in `directory`, for whoever reads it."""
    order = {"host": BOX, "port": PORT, "tls": True, "auth": {"token": TOKEN}, "key": str(directory), **order}
    refused = lan.on(lan.phone, lambda: converse(order))["refused"]
    assert refused["code"] == "NOT_PAIRED", refused
    system.call("device.pair.approve", {"requestId": refused["details"]["requestId"]})
    return order


def waiting(system: System) -> list[dict[str, Any]]:
    pending: list[dict[str, Any]] = system.call("device.pair.list")["pending"]
    return pending


def reject_all(system: System) -> None:
    for one in waiting(system):
        system.call("device.pair.reject", {"requestId": one["requestId"]})


def lines(system: System, event: str = "connect.refused", **wanted: Any) -> list[dict[str, Any]]:
    """What the audit says of an event."""
    told = system.call("audit.list", {"limit": 500, "event": event})["entries"]
    return [one for one in told if all(one[name] == value for name, value in wanted.items())]


def assert_ours(told: dict[str, Any]) -> None:
    """Refused for what it is, and told how its kind calls."""
    assert "refused" in told, told
    assert told["refused"]["details"]["code"] == "AUTH_UNAUTHORIZED", told
    assert "started by an agent of this gateway" in told["refused"]["message"]
    assert told["close"][0] == 1008


# --- with everything that can be stolen -------------------------------------------------------------------------------

PLACES: dict[str, dict[str, Any]] = {
    "loopback": {"host": "127.0.0.1"}, "loopback-6": {"host": "::1"}, "lan": {"host": BOX}, "lan-6": {"host": BOX6},
    "mapped": {"host": "127.0.0.1", "mapped": True}, "mapped-lan": {"host": BOX, "mapped": True},
    "from-elsewhere": {"host": BOX, "from": "127.0.0.77"}, "mptcp": {"host": BOX, "mptcp": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def stolen(system: System, lan: Lan, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What an outsider comes in with, and what nobody was ever approved for; at every place."""
    order = paired(system, lan, tmp_path_factory.mktemp("paired"))
    own = lan.on(lan.phone, lambda: converse(order))["hello"]["auth"]["deviceToken"]
    unpaired = {**order, "key": str(tmp_path_factory.mktemp("unpaired"))}
    code = system.call("device.pair.setupCode", {"publicUrl": f"wss://{BOX}:{PORT}"})
    setup = json.loads(_decoded(code["setupCode"]))["bootstrapToken"]
    kinds = [
        order, {**order, "auth": {"deviceToken": own}}, unpaired, {**unpaired, "auth": {"bootstrapToken": setup}},
        {**unpaired, "key": None},
    ]  # fmt: skip
    return [{**kind, **place} for place in PLACES.values() for kind in kinds]


def _decoded(code: str) -> bytes:
    return base64.urlsafe_b64decode(code + "=" * (-len(code) % 4))


def outside(orders: list[dict[str, Any]], lan: Lan) -> list[dict[str, Any]]:
    """How far a process that no agent started comes, on the same host."""
    return lan.on(lan.box, lambda: [converse(order) for order in orders])


def knocks(system: System, orders: list[dict[str, Any]], *how: str) -> list[dict[str, Any]]:
    """How far a program comes that the agent started."""
    ended = tool(system, *PROGRAM, *how, "knock", given=json.dumps(orders))
    assert ended["code"] == 0, ended
    told: list[dict[str, Any]] = json.loads(ended["out"])
    return told


def as_worker(system: System, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How far the worker process itself comes."""
    with system.wire(timeout=60) as wire:
        args = {"agentId": "itself", "message": json.dumps(orders), "timeoutSeconds": 60}
        result = wire.tool("sessions_send", args)
    assert result["status"] == "ok", result
    told: list[dict[str, Any]] = json.loads(result["reply"])
    return told


@pytest.mark.parametrize("how", ["program", "daemon", "worker"])
def test_what_an_agent_started_comes_in_nowhere_with_anything_that_can_be_stolen(
    system: System, stolen: list[dict[str, Any]], how: str
):
    before = len(lines(system, rule="descent"))
    orders = stolen if how == "program" else stolen[::3]
    if how == "worker":
        told = as_worker(system, orders)
    else:
        told = knocks(system, orders, *(["daemon"] if how == "daemon" else []))
    for one in told:
        assert_ours(one)
    assert waiting(system) == []
    found = eventually(lambda: len(all_ := lines(system, rule="descent")) >= before + len(orders) and all_)
    agent = "itself" if how == "worker" else "errand"
    assert all(f"agent:{agent}:main" in line["detail"]["detail"] for line in found[before:])
    refusals = eventually(lambda: (all_ := refused_as_ours(system))["counts"]["OURS"] >= before + len(orders) and all_)
    assert f"agent:{agent}:main" in refusals["refusals"][0]["reason"]


def refused_as_ours(system: System) -> dict[str, Any]:
    told: dict[str, Any] = system.call("refusals.list", {"code": "OURS", "limit": 1000})
    return told


def test_the_same_program_started_by_a_person_comes_in_where_it_was_approved(
    lan: Lan, system: System, stolen: list[dict[str, Any]]
):
    told = outside(stolen, lan)
    for first in range(0, len(told), 5):
        with_token, with_own, asks, _, without_device = told[first : first + 5]
        assert with_token["hello"]["auth"]["scopes"] == SCOPES
        assert with_own["hello"]["auth"]["method"] == "device-token"
        if first == 0:
            assert asks["refused"]["code"] == "NOT_PAIRED", "its setup code is used in the next breath"
        assert without_device["refused"]["details"]["code"] == "DEVICE_IDENTITY_REQUIRED"
    reject_all(system)


# --- connections that change hands ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(lan: Lan) -> Iterator[System]:
    """Mode none on loopback, without TLS: a connection can be handed over without its secrets."""
    with started(settings(port=SECOND, bind="loopback", auth={"mode": "none"}), wrapper=lan.at(lan.box)) as one:
        yield one


NEAR = {"host": "127.0.0.1", "port": SECOND}


def test_mode_none_is_for_operators_and_not_for_their_agents(plain: System, lan: Lan):
    both = [NEAR, {**NEAR, "host": "::1"}]
    for told in outside(both, lan):
        assert told["hello"]["auth"]["scopes"] == SCOPES
    for told in (*knocks(plain, both), *knocks(plain, both, "daemon"), *as_worker(plain, both)):
        assert_ours(told)


def at(system: System, name: str) -> str:
    return str(system.directory / name)


def test_a_connection_that_somebody_outside_gave_to_an_agents_program_is_the_programs(plain: System, lan: Lan):
    place = at(plain, "take")
    given = lan.on(lan.box, lambda: dial(NEAR))
    assert lan.on(lan.box, lambda: converse(NEAR))["hello"]

    def hand_over() -> None:
        with socket.socket(socket.AF_UNIX) as friend:
            eventually(lambda: friend.connect_ex(place) == 0)
            socket.send_fds(friend, [b"x"], [given.fileno()])
            given.close()

    friend = threading.Thread(target=hand_over)
    friend.start()
    ended = tool(plain, *PROGRAM, "take", json.dumps(NEAR), place)
    friend.join()
    assert_ours(json.loads(ended["out"]))


@pytest.mark.parametrize("lets_go", [False, True], ids=["shared", "given-away"])
def test_a_connection_that_an_agents_program_gave_away_is_still_the_programs(plain: System, lets_go: bool):
    """Somebody outside goes on with it; who made it was seen when it asked for a WebSocket."""
    place = at(plain, f"give-{lets_go}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        listener.settimeout(20)
        errand(plain, "leave", argv=[*PROGRAM, "give", json.dumps(NEAR), place])
        with listener.accept()[0] as friend:
            friend.settimeout(20)
            _, (descriptor,), _, _ = socket.recv_fds(friend, 1, 1)
            with open_remote(NEAR, socket.socket(fileno=descriptor)) as remote:
                assert remote.hear()["event"] == "connect.challenge"
                if lets_go:
                    friend.sendall(b"x")
                    friend.recv(1)
                remote.send({"type": "req", "id": "1", "method": "connect", "params": connect_params(NEAR, {})})
                told = {"refused": remote.answer("1")["error"]}
                hung = remote.until_closed()
                assert_ours({**told, "close": [hung.code, hung.text]})


def test_a_connection_in_nobodys_hands_is_refused_for_now(plain: System):
    answer: dict[str, Any] = {}
    for _ in range(3):  # the look may be quicker than the hand
        answer = json.loads(tool(plain, *PROGRAM, "hide", json.dumps(NEAR))["out"])
        assert not answer["ok"], answer
        if answer["error"]["code"] == "UNAVAILABLE":
            break
    assert (answer["error"]["code"], answer["error"]["retryable"]) == ("UNAVAILABLE", True)
    assert answer["error"]["details"]["reason"] == "holder-unknown"
    assert lines(plain, rule="holder-unknown")


# --- a proxy on the same host -----------------------------------------------------------------------------------------


def test_an_agents_program_cannot_be_the_proxy(lan: Lan):
    rule = {"userHeader": USER, "allowLoopback": True, "proxyUids": [0]}
    auth = {"mode": "trusted-proxy", "trustedProxy": rule}
    gateway = {"port": THIRD, "bind": "loopback", "auth": auth, "trustedProxies": ["127.0.0.1", "::1"]}
    orders = [{**NEAR, "port": THIRD, "host": host, "headers": HEADERS} for host in ("127.0.0.1", "::1")]
    with started(settings(**gateway), wrapper=lan.at(lan.box)) as system:
        for told in outside(orders, lan):
            assert told["hello"]["auth"]["method"] == "trusted-proxy"
        for told in (*knocks(system, orders), *knocks(system, orders, "daemon"), *as_worker(system, orders)):
            assert_ours(told)
        assert waiting(system) == []
        (nobody,) = outside([{**orders[0], "headers": HEADERS[1:]}], lan)
        assert nobody["refused"]["details"]["authReason"] == "trusted_proxy_user_missing"
