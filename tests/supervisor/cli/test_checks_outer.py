"""What `peergate doctor` says of the outer door, in every way an operator may have set it."""

from __future__ import annotations

import json
import os
import socket
from datetime import timedelta

import pytest

from gateway.listen.certificate import Place, make_pair, read_facts, utc_now, write_pair
from tests.supervisor.cli.support import Shell
from tests.support.fake_door import FakeDoor

DOOR, TLS, SECRET, PEERS = "outer door", "outer door's TLS", "outer door's secret", "peers on this machine"
NAMES = "certificate's names"


def checks(peergate: Shell, gateway: dict[str, object]) -> dict[str, dict[str, str]]:
    config = peergate.home / "peergate.json"
    config.write_text(json.dumps({"gateway": {"port": 0, **gateway}}))
    told = peergate("doctor", "--json", "--config", str(config)).document["checks"]
    return {check["name"]: check for check in told}


@pytest.mark.parametrize(
    ("gateway", "name", "status", "found"),
    [
        ({"bind": "loopback"}, DOOR, "ok", "will open at 127.0.0.1 (any free port), [::1] (any free port)"),
        ({"bind": "off"}, DOOR, "ok", "off: the Unix doors only"),
        ({"bind": "custom", "customBindHost": "203.0.113.9"}, DOOR, "fail", "203.0.113.9:0 is no address of this host"),
        ({"bind": "loopback"}, TLS, "ok", "off: bind loopback is reached from this machine only"),
        ({"bind": "lan"}, TLS, "ok", "on"),
        ({"bind": "lan", "tls": {"enabled": False, "allowPlaintext": True}}, TLS, "warn", "off with bind lan"),
        ({"bind": "loopback"}, SECRET, "ok", "mode token"),
        ({"bind": "loopback", "auth": {"token": ""}}, SECRET, "warn", "empty token"),
        ({"bind": "loopback", "auth": {"mode": "none"}}, SECRET, "warn", "every operator's program"),
        ({"bind": "lan", "auth": {"mode": "none", "allowInsecureNone": True}}, SECRET, "warn", "everybody who reaches"),
        ({"bind": "loopback"}, PEERS, "ok", "are looked up"),
    ],
)
def test_doctor_says_how_the_outer_door_stands(peergate: Shell, gateway, name, status, found):
    check = checks(peergate, gateway)[name]
    assert (check["status"], found in check["found"]) == (status, True), check
    assert (check["fix"] is not None) >= (status != "ok")


def test_doctor_looks_at_the_pair_the_next_start_will_use(peergate: Shell):
    lan: dict[str, object] = {"bind": "lan"}
    tls = peergate.home / "state" / "tls"
    assert checks(peergate, lan)[TLS]["found"] == "on: the certificate is made at the first start"
    place = Place(tls / "gateway.crt", tls / "gateway.key")
    tls.mkdir(parents=True)
    write_pair(place, *make_pair(["localhost"], utc_now()))
    good = checks(peergate, lan)[TLS]
    assert (good["status"], read_facts(place).fingerprint in good["found"]) == ("ok", True)
    place.key.write_text("torn")
    torn = checks(peergate, lan)[TLS]
    assert (torn["status"], "are no pair that can be used" in torn["found"]) == ("fail", True)
    write_pair(place, *make_pair(["localhost"], utc_now() - timedelta(days=20 * 365)))
    old = checks(peergate, lan)[TLS]
    assert (old["status"], "that is over" in old["found"]) == ("warn", True)


def test_doctor_names_who_has_the_port(peergate: Shell):
    with socket.create_server(("127.0.0.1", 0)) as server:
        check = checks(peergate, {"bind": "loopback", "port": server.getsockname()[1]})[DOOR]
    assert check["status"] == "fail"
    assert f"is taken by pid {os.getpid()} (" in check["found"]
    assert "gateway.port" in check["fix"]


def test_doctor_says_where_a_running_system_listens(peergate: Shell):
    peergate.runtime.mkdir()
    (peergate.runtime / "status.json").write_text(json.dumps({"addresses": ["10.0.0.1:18789"]}))
    assert checks(peergate, {"bind": "lan"})[DOOR]["found"] == "bind lan: open at 10.0.0.1:18789"


@pytest.mark.parametrize(
    ("door", "said"),
    [
        ({"lacking": ["new.lan", "192.0.2.7"]}, "new.lan, 192.0.2.7"),
        ({"lacking": []}, None),
        ({"tls": False}, None),
        (None, None),
    ],
    ids=["two", "none", "plain", "no door"],
)
def test_doctor_names_what_the_certificate_in_use_lacks(peergate: Shell, door, said: str | None):
    with FakeDoor(peergate.runtime, {"status": lambda _: {"gateway": {"outerDoor": door}}}):
        check = checks(peergate, {"bind": "lan"}).get(NAMES)
    assert (check is not None) == (said is not None)
    if check is not None:
        assert (check["status"], f"does not name {said}:" in check["found"]) == ("warn", True)
        assert "peergate cert renew" in check["fix"]


def test_a_kernel_that_cannot_be_asked_is_a_failure(peergate: Shell, monkeypatch: pytest.MonkeyPatch):
    class NoNetlink(socket.socket):
        def __init__(self, family: int = -1, *rest: int, **named: int) -> None:
            if family == socket.AF_NETLINK:
                raise PermissionError(1, "Operation not permitted")
            super().__init__(family, *rest, **named)

    monkeypatch.setattr(socket, "socket", NoNetlink)
    check = checks(peergate, {"bind": "loopback"})[PEERS]
    assert (check["status"], "netlink" in check["fix"]) == ("fail", True)
