"""Devices over the wire: the shapes OpenClaw's clients know, and what is never in them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gateway.protocol.errors import Refusal
from tests.support.calls import Caller
from tests.support.engine import open_box
from tests.support.paired import PAIRING, READ, WRITE, asks, connected, device_id, facts, pair

PHONE = device_id("phone")


@pytest.fixture
async def box(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        yield box


async def test_a_request_is_listed_and_approved_as_openclaws_clients_expect(box):
    operator = Caller(box.services)
    await asks(box.services.pairing, "phone", READ, device_family="Linux")
    (waiting,) = (await operator.ask("device.pair.list"))["pending"]
    known = {"requestId", "deviceId", "publicKey", "platform", "deviceFamily", "clientId", "clientMode", "displayName",
             "role", "roles", "scopes", "remoteIp", "silent", "isRepair", "ts"}  # fmt: skip
    assert waiting.keys() == known | {"digest", "reason", "expiresAtMs"}
    quoted = {"requestId": waiting["requestId"], "digest": waiting["digest"]}
    told = await operator.ask("device.pair.approve", **quoted)
    assert told["requestId"] == waiting["requestId"]
    same = ("deviceId", "publicKey", "platform", "deviceFamily", "clientId", "clientMode", "role", "roles", "scopes")
    assert {name: told["device"][name] for name in same} == {name: waiting[name] for name in same}
    assert told["device"]["approvedVia"] == "owner"
    assert told["device"]["tokens"] == [
        {"role": "operator", "scopes": [READ], "createdAtMs": told["device"]["createdAtMs"]}
    ]


async def test_who_is_connected_is_what_the_gateway_counts(box):
    await pair(box.services.pairing, "phone", READ)
    operator = Caller(box.services)
    assert [one["connected"] for one in (await operator.ask("device.pair.list"))["paired"]] == [False]
    box.services.counters["connectedDevices"] = lambda: {PHONE}
    assert [one["connected"] for one in (await operator.ask("device.pair.list"))["paired"]] == [True]


async def test_tokens_are_rotated_and_revoked_over_the_wire(box):
    await pair(box.services.pairing, "phone", READ, PAIRING)
    operator, phone = Caller(box.services), Caller(box.services, connected("phone", READ, PAIRING))
    told = await operator.ask("device.token.rotate", deviceId=PHONE, role="operator", scopes=[READ, PAIRING])
    assert told.pop("rotatedAtMs") > 0
    assert told == {
        "deviceId": PHONE, "role": "operator", "scopes": [READ, PAIRING], "tokenDelivery": "withheld-cross-device",
    }  # fmt: skip
    told = await phone.ask("device.token.rotate", deviceId=PHONE, role="operator")
    assert (told["tokenDelivery"], len(told["token"])) == ("in-band", 43)
    told = await operator.ask("device.token.revoke", deviceId=PHONE, role="operator")
    assert told.keys() == {"deviceId", "role", "revokedAtMs"}


async def test_the_rest_of_a_devices_life(box):
    operator = Caller(box.services)
    one = await asks(box.services.pairing, "phone", READ)
    assert await operator.ask("device.pair.reject", requestId=one.request_id) == {
        "requestId": one.request_id, "deviceId": PHONE,
    }  # fmt: skip
    await pair(box.services.pairing, "phone", READ)
    assert await operator.ask("device.pair.rename", deviceId=PHONE, label=" Kitchen ") == {
        "deviceId": PHONE, "label": "Kitchen",
    }  # fmt: skip
    phone = Caller(box.services, connected("phone", READ))
    request = await phone.ask("device.scopes.requestUpgrade", scopes=[READ, WRITE])
    await operator.ask("device.pair.approve", **request)
    assert (await phone.ask("device.scopes.waitUpgrade", **request))["scopes"] == [READ, WRITE]
    assert await operator.ask("device.pair.remove", deviceId=PHONE) == {"deviceId": PHONE}
    entries = (await operator.ask("audit.list", event="device.pair.approved"))["entries"]
    assert [each["device"] for each in entries] == [PHONE, PHONE]


async def test_without_an_outer_door_there_is_nothing_to_invite_to(box):
    for door in (None, lambda: {"urls": [], "fingerprint": ""}):
        if door is not None:
            box.services.counters["door"] = door
        with pytest.raises(Refusal, match="there is no outer door"):
            await Caller(box.services).ask("device.pair.setupCode")


def opened(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


async def test_a_setup_code_names_the_doors_addresses_and_its_certificate(box):
    urls = ["wss://10.0.0.1:18789", "wss://box:18789"]
    box.services.counters["door"] = lambda: {"urls": urls, "fingerprint": "sha256:a"}
    operator = Caller(box.services)
    told = await operator.ask("device.pair.setupCode")
    code = opened(told["setupCode"])
    assert (code["url"], code["tlsFingerprint"]) == ("wss://10.0.0.1:18789", "sha256:a")
    assert code["urls"] == told["gatewayUrls"]
    assert (told["access"], told["auth"], told["urlSource"]) == ("full", "token", "gateway.bind=loopback")
    assert told["qrDataUrl"].startswith("data:image/png;base64,")
    assert await operator.ask("device.pair.setupStatus", setupId=told["setupId"]) == {}
    await box.services.pairing.redeem(code["bootstrapToken"], PHONE, "key", "node", [], facts())
    done = (await operator.ask("device.pair.setupStatus", setupId=told["setupId"]))["completion"]
    assert (done["deviceId"], done["displayName"]) == (PHONE, "Phone")


async def test_full_access_over_a_readable_path_becomes_limited(box):
    box.services.counters["door"] = lambda: {"urls": ["wss://10.0.0.1:18789"]}
    told = await Caller(box.services).ask("device.pair.setupCode", publicUrl="ws://192.168.1.5:80", includeQr=False)
    assert (told["access"], told["accessDowngraded"], told["urlSource"]) == ("limited", True, "request.publicUrl")
    assert "qrDataUrl" not in told
    assert "tlsFingerprint" not in opened(told["setupCode"])


@pytest.mark.parametrize("url", ["wss://[x", "wss://a]b", "wss://℀.org", "wss://box:port", f"wss://{'a' * 1000}"])
async def test_what_is_no_address_is_said_to_be_none(box, url):
    box.services.counters["door"] = lambda: {"urls": ["wss://10.0.0.1:18789"]}
    with pytest.raises(Refusal, match="is no address of a gateway"):
        await Caller(box.services).ask("device.pair.setupCode", publicUrl=url)


async def test_a_setup_code_that_no_picture_holds_is_told_without_one(box):
    urls = [f"wss://{letter * 250}:18789" for letter in "abcdefgh"]
    box.services.counters["door"] = lambda: {"urls": urls}
    told = await Caller(box.services).ask("device.pair.setupCode")
    assert opened(told["setupCode"])["urls"] == urls
    assert "qrDataUrl" not in told
