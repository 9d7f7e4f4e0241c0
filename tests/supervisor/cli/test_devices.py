"""`peergate devices`: what it asks for, what it prints, and that nobody is let in by mistake."""

from __future__ import annotations

from typing import Any

import pytest

from tests.supervisor.cli.support import Shell, answering
from tests.support.fake_door import FakeDoor, Handler, No

PHONE = {
    "requestId": "6d96371b-aaaa", "deviceId": "56475aa75463474c", "displayName": "Phone", "remoteIp": "10.0.0.7",
    "clientId": "cli", "platform": "linux", "roles": ["operator"], "scopes": ["operator.read", "operator.write"],
    "ts": 1, "digest": "d1", "reason": "not-paired",
}  # fmt: skip
THIEF = {
    **PHONE,
    "requestId": "6d96ffff-bbbb",
    "deviceId": "ffff5aa75463474c",
    "displayName": "Phone\x1b[2J",
    "digest": "d2",
}
PAIRED = {
    "deviceId": "83f75b926ba8f989", "operatorLabel": "Kitchen", "clientId": "openclaw-tui", "connected": True,
    "tokens": [{"role": "node", "scopes": []}, {"role": "operator", "scopes": ["operator.read"], "revokedAtMs": 5}],
}  # fmt: skip
DAMAGED = {"deviceId": "aaaa1111", "error": "Input data was truncated"}


def listed(*pending: Any, paired: Any = (), damaged: Any = ()) -> dict[str, Handler]:
    told = {"pending": list(pending), "paired": list(paired)}
    return {"device.pair.list": answering({**told, **({"damaged": list(damaged)} if damaged else {})})}


def test_who_waits_and_who_is_paired_are_tables(peergate: Shell):
    with FakeDoor(peergate.runtime, listed(PHONE, paired=[PAIRED], damaged=[DAMAGED])):
        lines = peergate("devices").out.splitlines()
        assert peergate("devices", "list", "--json").document["pending"] == [PHONE]
    assert lines[0] == "waiting (1):"
    assert lines[1].split() == ["ID", "DEVICE", "NAME", "FROM", "CLIENT", "WANTS", "ASKED", "WHY"]
    assert "6d96371b-aaaa  56475aa75463  Phone  10.0.0.7  cli linux  operator: read, write" in lines[2]
    assert lines[3] == "to let one in: peergate devices approve ID"
    assert "83f75b926ba8  Kitchen" in lines[7]
    assert lines[7].endswith("now   node; operator (revoked): read")
    assert lines[8].startswith("damaged: aaaa1111: Input data was truncated; it is not paired: peergate devices remove")


def test_nobody_there_is_said(peergate: Shell):
    with FakeDoor(peergate.runtime, listed()):
        assert "to invite one: peergate qr" in peergate("devices").out
        ended = peergate("devices", "approve", "--latest")
    assert ended.code == 1
    assert "no device waits" in ended.err


@pytest.mark.parametrize("words", [["--latest"], [], ["6d96"], ["6d96371b-aaaa"]])
def test_an_approval_quotes_what_was_seen(peergate: Shell, words: list[str]):
    approve = answering({"requestId": PHONE["requestId"], "device": {}})
    with FakeDoor(peergate.runtime, {**listed(PHONE), "device.pair.approve": approve}) as door:
        ended = peergate("devices", "approve", *words)
    assert door.calls("device.pair.approve") == [{"requestId": "6d96371b-aaaa", "digest": "d1"}]
    assert ended.out == 'approved: device 56475aa75463 "Phone" at 10.0.0.7 is operator: read, write from now on\n'


@pytest.mark.parametrize("words", [["--latest"], []])
def test_the_latest_is_not_approved_when_another_waits_too(peergate: Shell, words: list[str]):
    with FakeDoor(peergate.runtime, listed(THIEF, PHONE)) as door:
        ended = peergate("devices", "approve", *words)
        assert door.calls("device.pair.approve") == []
    assert ended.code == 1
    assert "2 devices wait" in ended.err
    assert "peergate devices approve 6d96371b-aaaa" in ended.err
    assert "peergate devices approve 6d96ffff-bbbb" in ended.err
    assert "\x1b" not in ended.err


@pytest.mark.parametrize(
    ("word", "why"),
    [("6d96", "2 ids begin with 6d96"), ("6d9", "no request waits with the id 6d9"), ("x", "no request waits")],
)
def test_an_id_may_be_short_but_not_doubtful(peergate: Shell, word: str, why: str):
    with FakeDoor(peergate.runtime, listed(THIEF, PHONE)):
        for verb in ("approve", "reject"):
            ended = peergate("devices", verb, word)
            assert (ended.code, why in ended.err) == (1, True)


def test_an_id_and_latest_contradict_each_other(peergate: Shell):
    with FakeDoor(peergate.runtime, listed(PHONE)):
        assert peergate("devices", "approve", "6d96", "--latest").code == 2


@pytest.mark.parametrize(
    ("words", "method", "params", "out"),
    [
        (["reject", "6d96371b"], "device.pair.reject", {"requestId": "6d96371b-aaaa"}, "rejected: device 56475aa75463"),
        (["remove", "83f7"], "device.pair.remove", {"deviceId": PAIRED["deviceId"]}, "removed: 83f75b926ba8"),
        (["remove", "aaaa1111"], "device.pair.remove", {"deviceId": "aaaa1111"}, "removed: "),
        (["rename", "83f7", "Den"], "device.pair.rename", {"deviceId": PAIRED["deviceId"], "label": "Den"}, "Den"),
        (["rotate", "83f7", "--scope", "operator.read"], "device.token.rotate",
         {"deviceId": PAIRED["deviceId"], "role": "operator", "scopes": ["operator.read"]}, "rotated: 83f75b926ba8"),
        (["revoke", "83f7", "--role", "node"], "device.token.revoke",
         {"deviceId": PAIRED["deviceId"], "role": "node"}, "revoked: 83f75b926ba8 node"),
    ],
)  # fmt: skip
def test_each_decision_is_one_call(peergate: Shell, words: list[str], method: str, params: Any, out: str):
    told = {**params, "scopes": ["operator.read"]}
    doors = {**listed(PHONE, paired=[PAIRED], damaged=[DAMAGED]), method: answering(told)}
    with FakeDoor(peergate.runtime, doors) as door:
        ended = peergate("devices", *words)
    assert door.calls(method) == [params]
    assert out in ended.out


def test_a_refusal_is_told_and_done_once(peergate: Shell):
    def refuse(_: dict[str, Any]) -> Any:
        raise No("INVALID_REQUEST", "missing scope: operator.write")

    with FakeDoor(peergate.runtime, {**listed(PHONE), "device.pair.approve": refuse}) as door:
        ended = peergate("devices", "approve")
        assert len(door.calls("device.pair.approve")) == 1
    assert ended.code == 1
    assert "missing scope: operator.write" in ended.err


def test_clearing_is_not_done_by_accident(peergate: Shell):
    doors = {**listed(PHONE, paired=[PAIRED]), "device.pair.reject": answering({}), "device.pair.remove": answering({})}
    with FakeDoor(peergate.runtime, doors) as door:
        assert peergate("devices", "clear").code == 1
        assert door.calls("device.pair.reject") == []
        assert peergate("devices", "clear", "--pending", "--yes").code == 0
        assert (len(door.calls("device.pair.reject")), door.calls("device.pair.remove")) == (1, [])
        told = peergate("devices", "clear", "--yes", "--json").document
    assert told == {"rejected": [PHONE["requestId"]], "removed": [PAIRED["deviceId"]]}


@pytest.mark.parametrize(
    ("doors", "status", "found"),
    [
        (listed(paired=[PAIRED]), "ok", "1 paired, 0 waiting"),
        (listed(PHONE), "warn", "0 paired, 1 waiting"),
        (listed(damaged=[DAMAGED]), "fail", "the record of aaaa1111 is damaged (Input data was truncated)"),
    ],
)
def test_the_doctor_tells_of_damaged_records_and_of_who_waits(peergate: Shell, doors, status: str, found: str):
    with FakeDoor(peergate.runtime, doors):
        checks = peergate("doctor", "--json").document["checks"]
    assert any(each["status"] == status and found in each["found"] for each in checks if each["name"] == "devices")
