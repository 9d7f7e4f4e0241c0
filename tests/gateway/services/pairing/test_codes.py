"""Setup codes: made by an administrator, good once, for the first device that shows one."""

from __future__ import annotations

import base64
import json

import pytest

from gateway.protocol.devices import SetupCode
from gateway.protocol.errors import Refusal
from gateway.services.pairing import codes, rules
from gateway.services.pairing.codes import Code
from tests.support import engine
from tests.support.calls import OPERATOR
from tests.support.engine import open_box
from tests.support.paired import ADMIN, PAIRING, READ, WRITE, device_id, facts, somebody

PHONE = device_id("phone")


def redeemed(pairing, token: str, name: str = "phone", role: str = "operator", scopes=(READ,)):
    return pairing.redeem(token, device_id(name), f"key of {name}", role, scopes, facts(name))


async def test_the_first_device_that_shows_a_code_is_paired_with_all_its_profile_grants(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        pairing = box.services.pairing
        code = await pairing.new_setup_code("limited", OPERATOR)
        assert code.token not in (tmp_path / "peergate.db-wal").read_bytes().decode("latin-1")
        assert pairing.setup(code.token) == code.record
        device, tokens = await redeemed(pairing, code.token)
        assert (device.roles, device.approved_via) == (("node", "operator"), "setup-code")
        assert {one.role: set(one.scopes) for one in tokens} == {"node": set(), "operator": set(rules.LIMITED)}
        used = pairing.setup_status(code.record.setup_id)
        assert used is not None
        assert used.bound_to == PHONE
    async with open_box(tmp_path, generation=2) as box:
        pairing = box.services.pairing
        assert (await redeemed(pairing, code.token))[1] == tokens  # its answer was lost
        assert pairing.setup(code.token, device_id("thief")) is None
        with pytest.raises(Refusal, match="bootstrap token invalid") as refused:
            await redeemed(pairing, code.token, "thief")
        assert (refused.value.shape.details or {})["code"] == "AUTH_BOOTSTRAP_TOKEN_INVALID"


@pytest.mark.parametrize("end", ["removed", "revoked"])
async def test_a_device_that_was_sent_away_does_not_come_back_with_its_code(box, end: str):
    pairing = box.services.pairing
    code = await pairing.new_setup_code("limited", OPERATOR)
    await redeemed(pairing, code.token)
    if end == "removed":
        await pairing.remove(PHONE, OPERATOR)
    else:
        await pairing.revoke(PHONE, "operator", OPERATOR)
    assert pairing.setup(code.token) is None
    with pytest.raises(Refusal, match="bootstrap token invalid"):
        await redeemed(pairing, code.token)


async def test_a_code_is_good_for_ten_minutes_and_remembered_for_twenty(box, mock_clock):
    pairing = box.services.pairing
    code = await pairing.new_setup_code("node", OPERATOR)
    mock_clock.jump(601)
    assert pairing.setup(code.token) is None
    with pytest.raises(Refusal, match="bootstrap token invalid"):
        await redeemed(pairing, code.token, role="node", scopes=())
    await pairing.clean()
    assert pairing.setup_status(code.record.setup_id) is not None
    mock_clock.jump(600)
    await pairing.clean()
    assert pairing.setup_status(code.record.setup_id) is None


async def test_a_clock_that_was_put_back_makes_no_code_good_for_longer(box, mock_clock, monkeypatch):
    pairing = box.services.pairing
    code = await pairing.new_setup_code("node", OPERATOR)
    monkeypatch.setattr(engine, "EPOCH_MS", engine.EPOCH_MS - 5_000)
    assert pairing.setup(code.token) is not None
    monkeypatch.setattr(engine, "EPOCH_MS", engine.EPOCH_MS - 3_600_000)
    assert pairing.setup(code.token) is None
    with pytest.raises(Refusal, match="bootstrap token invalid"):
        await redeemed(pairing, code.token, role="node", scopes=())


@pytest.mark.parametrize(
    ("profile", "role", "scopes"),
    [("node", "operator", (READ,)), ("limited", "operator", (ADMIN,)), ("control-ui-owner", "node", ())],
)
async def test_a_code_gives_no_more_than_its_profile(box, profile: str, role: str, scopes):
    code = await box.services.pairing.new_setup_code(profile, OPERATOR)
    with pytest.raises(Refusal, match="bootstrap token invalid"):
        await redeemed(box.services.pairing, code.token, role=role, scopes=scopes)
    assert box.services.pairing.device(PHONE) is None


async def test_only_an_administrator_makes_codes(box):
    with pytest.raises(Refusal, match=r"missing scope: operator\.admin"):
        await box.services.pairing.new_setup_code("node", somebody(PAIRING, WRITE))
    with pytest.raises(Refusal, match="there is no profile root"):
        await box.services.pairing.new_setup_code("root", OPERATOR)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("wss://home.example.org:18789/", "wss://home.example.org:18789"),
        ("https://home.example.org", "wss://home.example.org"),
        ("home.example.org:443", "wss://home.example.org:443"),
        ("ws://192.168.1.5:18789", "ws://192.168.1.5:18789"),
        ("http://localhost:18789", "ws://localhost:18789"),
        ("ws://box.local", "ws://box.local"),
        ("ws://[fd00::1]:18789", "ws://[fd00::1]:18789"),
        ("ws://home.example.org", None),
        ("ws://8.8.8.8", None),
        ("ftp://home.example.org", None),
        ("wss://", None),
        ("wss://host:port", None),
        ("wss://me:secret@host", None),
    ],
)
def test_an_address_for_a_device(given: str, url: str | None):
    if url is None:
        with pytest.raises(Refusal):
            codes.gateway_url(given)
    else:
        assert codes.gateway_url(given) == url


@pytest.mark.parametrize(
    ("wanted", "url", "profile", "access"),
    [
        ("full", "wss://h", "full", "full"),
        ("full", "ws://127.0.0.1:1", "full", "full"),
        ("full", "ws://192.168.1.5", "limited", "limited"),
        ("control-ui-owner", "ws://192.168.1.5", "limited", "limited"),
        ("node", "ws://192.168.1.5", "node", "node"),
        ("voice-node", "wss://h", "voice-node", "limited"),
    ],
)
def test_full_access_is_given_only_where_nobody_reads_along(wanted: str, url: str, profile: str, access: str):
    assert codes.profile_for(wanted, [url]) == profile
    assert codes.access_of(profile) == access


def test_the_text_of_a_code_is_what_openclaws_apps_read():
    code = Code(SetupCode("s", codes.hash_of("T"), "node", ("node",), (), 1, 600_001), "T")

    def read(*urls: str) -> dict[str, object]:
        text = codes.text_of(code, urls, "sha256:ab")
        assert "=" not in text
        told: dict[str, object] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return told

    base = {"bootstrapToken": "T", "expiresAtMs": 600_001}
    assert read("ws://127.0.0.1:1") == {"url": "ws://127.0.0.1:1", **base}
    both = read("wss://a", "wss://b")
    assert both == {"url": "wss://a", "urls": ["wss://a", "wss://b"], "tlsFingerprint": "sha256:ab", **base}
