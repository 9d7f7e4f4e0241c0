"""From another host: what a stolen secret is worth, what a browser may, and what a crowd at the door costs those who
come by the Unix doors."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.identity import config as errands
from tests.support.identity import started
from tests.support.lan import BOX, BOX6, HAS_NETWORKS, NEEDS_NETWORKS, PHONE, Lan, two_hosts
from tests.support.remote import SCOPES, converse, dial, open_remote, secured, upgrade
from tests.support.system import System

TOKEN = "stolen by everybody"
PORT, SECOND = 18789, 18790
PAGE = "https://page.example:8443"
HOSTS = {"box.example": "a configured name", f"{BOX}:{PORT}": "its address", f"[{BOX6}]:{PORT}": "the other one"}


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    if not HAS_NETWORKS:
        pytest.skip(NEEDS_NETWORKS)
    with two_hosts() as made:
        yield made


def settings(**gateway: Any) -> dict[str, Any]:
    return errands("errand", gateway={"port": PORT, "bind": "lan"} | gateway)


@pytest.fixture(scope="module")
def system(lan: Lan) -> Iterator[System]:
    """Mode token, TLS, on every address."""
    gateway = {
        "auth": {"token": TOKEN, "rateLimit": {"maxAttempts": 100}}, "hostNames": ["box.example"],
        "controlUi": {"allowedOrigins": [PAGE]},
    }  # fmt: skip
    with started(settings(**gateway), wrapper=lan.at(lan.box)) as one:
        yield one


def order(**more: Any) -> dict[str, Any]:
    return {"host": BOX, "port": PORT, "tls": True, "auth": {"token": TOKEN}, **more}


def from_phone(lan: Lan, wanted: dict[str, Any]) -> dict[str, Any]:
    return lan.on(lan.phone, lambda: converse(wanted))


def waiting(system: System) -> list[dict[str, Any]]:
    pending: list[dict[str, Any]] = system.call("device.pair.list")["pending"]
    return pending


# --- a stolen secret --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["phone", "box", "phone-6"])
def test_the_right_token_buys_a_request_and_a_persons_word_buys_the_rest(
    system: System, lan: Lan, tmp_path: Path, where: str
):
    """From another host, and from this one by its own address: the same."""
    host = lan.box if where == "box" else lan.phone
    wanted = order(key=str(tmp_path), calls=[["status", {}]], **({"host": BOX6} if where == "phone-6" else {}))
    told = lan.on(host, lambda: converse(wanted))
    assert (told["refused"]["code"], told["close"][0]) == ("NOT_PAIRED", 1008)
    (request,) = waiting(system)
    assert request["requestId"] == told["refused"]["details"]["requestId"]
    assert request["requestId"] in told["close"][1]
    assert request["remoteIp"] == {"phone": PHONE, "box": BOX, "phone-6": "fd77::2"}[where]
    approved = system.cli("devices", "approve", "--latest")
    assert approved.returncode == 0, approved.stderr
    told = lan.on(host, lambda: converse(wanted))
    assert told["hello"]["auth"]["scopes"] == SCOPES
    assert told["answers"][0]["ok"]
    (denied,) = lan.on(host, lambda: converse({**wanted, "calls": [["device.pair.list", {}]]}))["answers"]
    assert "operator.pairing" in denied["error"]["message"]


def test_without_the_token_there_is_not_even_a_request(system: System, lan: Lan, tmp_path: Path):
    for auth in (
        {"token": "guessed"},
        {"password": "guessed"},
        {"deviceToken": "guessed"},
        {"bootstrapToken": "x"},
        {},
    ):
        told = from_phone(lan, order(key=str(tmp_path), auth=auth))
        assert told["refused"]["code"] == "INVALID_REQUEST", told
        assert told["refused"]["message"].startswith("unauthorized: ")
    assert waiting(system) == []


def test_before_it_is_greeted_a_client_can_call_nothing(system: System, lan: Lan):
    for method in ("status", "health", "device.pair.list", "worker.next", "system.processes"):
        with lan.on(lan.phone, lambda: open_remote(order())) as remote:
            remote.hear()
            answer = remote.call(method)
            assert "first request must be connect" in answer["error"]["message"]
            assert remote.until_closed().code == 1008


def test_what_calls_itself_a_worker_or_this_machines_own_is_nobody_from_outside(
    system: System, lan: Lan, tmp_path: Path
):
    for mode in ({"role": "worker"}, {"client": {"mode": "worker"}}, {"client": {"id": "openclaw-worker"}}):
        told = from_phone(lan, order(key=str(tmp_path), **mode))
        assert told.get("refused", {}).get("code") == "INVALID_REQUEST" or told["closed"][0] == 1008, told
    assert waiting(system) == []
    for client in ("gateway-client", "openclaw-control-ui", "openclaw-tui", "node-host"):
        told = from_phone(lan, order(key=str(tmp_path), client={"id": client, "mode": "backend"}))
        assert told["refused"]["code"] == "NOT_PAIRED", told
    (request,) = waiting(system)
    system.call("device.pair.reject", {"requestId": request["requestId"]})


def test_tls_is_what_is_spoken_and_the_oldest_is_1_3(system: System, lan: Lan):
    plain = from_phone(lan, order(tls=False))
    assert plain["http"] == 400
    assert "wss://" in plain["body"]
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode, old.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2
    with lan.on(lan.phone, lambda: dial(order())) as sock, pytest.raises(ssl.SSLError):
        old.wrap_socket(sock)


MODES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "token": ({"auth": {"token": TOKEN}}, {"auth": {"token": TOKEN}}, "NOT_PAIRED"),
    "empty-token": ({"auth": {"mode": "token", "token": ""}}, {"auth": {"token": ""}}, "AUTH_TOKEN_NOT_CONFIGURED"),
    "password": ({"auth": {"mode": "password", "password": "p"}}, {"auth": {"password": "p"}}, "NOT_PAIRED"),
    "none": ({"auth": {"mode": "none", "allowInsecureNone": True}}, {"auth": {}}, "in"),
    "proxy": (
        {
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "X-User"}},
            "trustedProxies": ["10.77.0.77"], "tls": {"enabled": False, "allowPlaintext": True},
        },
        {"headers": [["X-User", "ann"]], "tls": False}, "AUTH_UNAUTHORIZED",
    ),
    "no-tls": (
        {"auth": {"token": TOKEN}, "tls": {"enabled": False, "allowPlaintext": True}}, {"tls": False}, "NOT_PAIRED",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_lets_a_stranger_as_far_as_it_says(lan: Lan, tmp_path: Path, mode: str):
    gateway, shown, ends = MODES[mode]
    with started(settings(port=SECOND, **gateway), wrapper=lan.at(lan.box)) as system:
        for host in (lan.phone, lan.box):
            told = lan.on(host, lambda: converse(order(port=SECOND, key=str(tmp_path), **shown)))
            if ends == "in":
                assert told["hello"]["auth"]["method"] == "none"
            elif ends == "NOT_PAIRED":
                assert told["refused"]["code"] == ends
            else:
                assert told["refused"]["details"]["code"] == ends
        assert len(waiting(system)) == (1 if ends == "NOT_PAIRED" else 0)


def test_a_host_that_guesses_is_not_listened_to_and_a_paired_device_beside_it_is(lan: Lan, tmp_path: Path):
    auth = {"token": TOKEN, "rateLimit": {"maxAttempts": 3}}
    with started(settings(port=SECOND, auth=auth), wrapper=lan.at(lan.box)) as system:
        wanted = order(port=SECOND, key=str(tmp_path))
        from_phone(lan, wanted)
        assert system.cli("devices", "approve", "--latest").returncode == 0
        own = from_phone(lan, wanted)["hello"]["auth"]["deviceToken"]
        told = [from_phone(lan, order(port=SECOND, auth={"token": f"guess {number}"})) for number in range(4)]
        assert [one["refused"]["details"]["code"] for one in told[:3]] == ["AUTH_TOKEN_MISMATCH"] * 3
        limited = [told[3], from_phone(lan, wanted)]
        for one in limited:
            assert one.get("http") == 429 or one["refused"]["details"]["code"] == "AUTH_RATE_LIMITED", one
        if "http" in limited[1]:
            assert "retry-after: " in limited[1]["head"].lower()
        else:
            assert from_phone(lan, {**wanted, "auth": {"deviceToken": own}})["hello"]
        assert lan.on(lan.box, lambda: converse(wanted))["hello"], "it is the address that is locked out"


# --- browsers and forgers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [*HOSTS, "BOX.example.", "localhost", "127.0.0.1:1"])
def test_a_host_that_is_ours_is_answered(system: System, lan: Lan, host: str):
    assert "refused" in from_phone(lan, order(name=host)), HOSTS.get(host)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0:18789", "[::]:18789", "rebound.attacker.example", f"{PHONE}:{PORT}", "box.example.attacker.example",
     "box.example@attacker", "[::ffff:0.0.0.0]", "", "0x0a4d0001", "box.example, box.example"],
)  # fmt: skip
def test_a_host_that_is_not_ours_is_misdirected(system: System, lan: Lan, host: str):
    for path in (b"/", b"/healthz"):
        sock = lan.on(lan.phone, lambda: secured(dial(order())))
        with sock:
            sock.sendall(upgrade(host).replace(b"GET / ", b"GET " + path + b" "))
            assert sock.recv(4096).split()[1] in (b"421", b"400"), host
            sock.sendall(b"")


@pytest.mark.parametrize(
    ("origins", "code"),
    [
        ([PAGE], "NOT_PAIRED"),
        ([PAGE, PAGE], "CONTROL_UI_ORIGIN_NOT_ALLOWED"),
        ([PAGE, "https://evil.example"], "CONTROL_UI_ORIGIN_NOT_ALLOWED"),
        (["https://page.example"], "CONTROL_UI_ORIGIN_NOT_ALLOWED"),
        (["null"], "CONTROL_UI_ORIGIN_NOT_ALLOWED"),
        ([""], "CONTROL_UI_ORIGIN_NOT_ALLOWED"),
        ([f"https://{BOX}:{PORT}"], "CONTROL_UI_ORIGIN_NOT_ALLOWED"),
        (["https://page.example:8443.evil.example"], "CONTROL_UI_ORIGIN_NOT_ALLOWED"),
    ],
)
def test_a_page_comes_in_from_the_list_only(system: System, lan: Lan, origins: list[str], code: str):
    told = from_phone(lan, order(headers=[["Origin", origin] for origin in origins]))
    if "http" in told:
        assert told["http"] in (400, 403), told
    else:
        found = told["refused"]
        assert code in (found["code"], found["details"]["code"]), told
        assert code == "NOT_PAIRED" or "origin not allowed" in found["message"]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP"])
def test_who_is_no_proxy_and_speaks_like_one_is_refused(system: System, lan: Lan, tmp_path: Path, name: str):
    for value in ("127.0.0.1", "for=127.0.0.1", BOX):
        told = from_phone(lan, order(key=str(tmp_path), headers=[[name, value]]))
        assert told.get("http") == 403 or told["refused"]["details"]["code"] == "proxy_attribution_required", told
    assert waiting(system) == []


def test_an_upgrade_is_a_connections_first_request_and_comes_alone(system: System, lan: Lan):
    probe = f"GET /healthz HTTP/1.1\r\nHost: {BOX}\r\n\r\n".encode()
    asks = upgrade(BOX)
    for sent in (probe + asks, asks + asks, asks + b"\x81\x80\0\0\0\0", asks.replace(b"GET /", b"POST /")):
        with lan.on(lan.phone, lambda: secured(dial(order()))) as sock:
            sock.sendall(sent)
            assert b"HTTP/1.1 101" not in everything(sock), sent
    with lan.on(lan.phone, lambda: secured(dial(order()))) as sock:
        sock.sendall(probe)
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        sock.sendall(asks)
        assert b"HTTP/1.1 101" not in everything(sock)


def everything(sock: socket.socket) -> bytes:
    """What comes until the other end closes."""
    data = b""
    with suppress(OSError):
        while chunk := sock.recv(65536):
            data += chunk
    return data
