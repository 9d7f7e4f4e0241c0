"""Conversations at the outer door: how a client comes in, and what everybody else hears."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.auth.principal import Kind
from supervisor.messages import Held
from tests.gateway.auth.signing import TestDevice
from tests.gateway.greet.front import AFAR, HERE, TOKEN, Front, open_front
from tests.support.doors import operator

READ, WRITE, ADMIN = "operator.read", "operator.write", "operator.admin"


@pytest.fixture
async def front(tmp_path) -> AsyncIterator[Front]:
    async with open_front(tmp_path) as one:
        yield one


def told(answer: dict[str, Any]) -> tuple[str, str, list[Any]]:
    """Code, details.code and Close frame of a refusal."""
    error = answer["error"]
    return error["code"], error["details"]["code"], answer["close"]


async def test_the_first_word_is_the_challenge_and_no_two_are_alike(front):
    first, second = await front.guest(), await front.guest()
    assert first.nonce
    assert first.nonce != second.nonce
    assert isinstance(first.ts, int)


async def test_an_unknown_device_leaves_one_request_that_a_person_can_see_and_approve(front):
    device = TestDevice()
    answer = await front.knock(device, scopes=[READ, WRITE])
    code, details, close = told(answer)
    (request,) = front.waiting
    assert (code, details) == ("NOT_PAIRED", "PAIRING_REQUIRED")
    assert answer["error"]["message"] == "pairing required: device is not approved yet"
    assert answer["error"]["details"] == {
        "code": "PAIRING_REQUIRED", "reason": "not-paired", "requestId": request["requestId"], "deviceId": device.id,
        "remediationHint": "Approve this device from the pending pairing requests: "
        f"peergate devices approve {request['requestId']}",
        "requestedRole": "operator", "requestedScopes": [READ, WRITE],
    }  # fmt: skip
    text = f"pairing required: device is not approved yet (requestId: {request['requestId']})"
    assert close == [1008, text]
    assert (list(request["scopes"]), request["remoteIp"], request["clientId"]) == ([READ, WRITE], AFAR, "cli")
    again = await front.knock(device, scopes=[READ, WRITE])
    assert again["error"] == answer["error"]
    assert len(front.waiting) == 1


async def test_one_approval_grants_what_was_asked_and_the_device_comes_back_with_its_own_token(front):
    device = await front.paired(READ, WRITE)
    hello = (await front.knock(device, scopes=[READ, WRITE]))["payload"]
    assert hello["type"] == "hello-ok"
    auth = hello["auth"]
    assert (auth["method"], auth["role"], auth["scopes"]) == ("token", "operator", [READ, WRITE])
    assert isinstance(auth["issuedAtMs"], int)
    for place in ("deviceToken", "token"):
        back = await front.knock(device, scopes=[READ], auth={place: auth["deviceToken"]})
        assert back["payload"]["auth"] == auth | {"method": "device-token", "scopes": [READ]}
    assert front.waiting == []


async def test_a_greeted_device_may_do_what_it_was_granted_and_no_more(front):
    device = await front.paired(READ)
    guest = await front.guest()
    await guest.knock(device)
    await guest.send({"type": "req", "id": "2", "method": "health"})
    assert (await guest.hear())["ok"]
    await guest.send({"type": "req", "id": "3", "method": "device.pair.list"})
    assert (await guest.hear())["error"]["message"] == "missing scope: operator.pairing"
    principal = front.connections[-1].principal
    assert (principal.kind, principal.device, principal.address) == (Kind.DEVICE, device.id, AFAR)


@pytest.mark.parametrize(
    "client",
    [{"id": "gateway-client", "mode": "backend"}, {"id": "cli", "mode": "cli"}, {"id": "test", "mode": "test"}],
)
@pytest.mark.parametrize("address", [HERE, AFAR])
async def test_the_right_token_alone_opens_nothing_whoever_says_so_from_wherever(front, client, address):
    front.holds = [Held(1, "outside", uid=0, cookie="c")]
    answer = await front.knock(address=address, client=client, scopes=[ADMIN])
    assert told(answer) == ("NOT_PAIRED", "DEVICE_IDENTITY_REQUIRED", [1008, "device identity required"])
    with_device = await front.knock(TestDevice(), address=address, client=client, scopes=[ADMIN])
    assert with_device["error"]["details"]["reason"] == "not-paired"


async def test_the_control_ui_needs_a_device_too(front):
    answer = await front.knock(client={"id": "openclaw-control-ui", "mode": "webchat"})
    text = "control ui requires device identity (use HTTPS or localhost secure context)"
    assert told(answer) == ("INVALID_REQUEST", "CONTROL_UI_DEVICE_IDENTITY_REQUIRED", [1008, text])


@pytest.mark.parametrize(
    ("auth", "device", "code", "stem"),
    [
        ({"token": "no"}, True, "AUTH_TOKEN_MISMATCH", "unauthorized: gateway token mismatch ("),
        ({"token": "no"}, False, "AUTH_TOKEN_MISMATCH", "unauthorized: gateway token mismatch ("),
        ({}, True, "AUTH_TOKEN_MISSING", "unauthorized: gateway token missing ("),
        ({"deviceToken": "x"}, True, "AUTH_DEVICE_TOKEN_MISMATCH", "unauthorized: device token mismatch ("),
        ({"bootstrapToken": "x"}, True, "AUTH_BOOTSTRAP_TOKEN_INVALID", "unauthorized: bootstrap token "),
    ],
)
async def test_a_wrong_secret_leaves_no_request(front, auth, device, code, stem):
    answer = await front.knock(TestDevice() if device else None, auth=auth)
    assert told(answer)[:2] == ("INVALID_REQUEST", code)
    assert answer["error"]["message"].startswith(stem)
    assert answer["close"] == [1008, answer["error"]["message"]]
    assert front.waiting == []


async def test_a_proof_for_another_connection_is_refused(front):
    device, other, guest = await front.paired(READ), await front.guest(), await front.guest()
    guest.nonce = other.nonce
    answer = await guest.knock(device)
    assert told(answer) == ("INVALID_REQUEST", "DEVICE_AUTH_NONCE_MISMATCH", [1008, "device nonce mismatch"])


async def test_more_than_was_approved_waits_for_a_person_again(front):
    device = await front.paired(READ)
    more = await front.knock(device, scopes=[READ, ADMIN])
    details = more["error"]["details"]
    assert (details["reason"], details["approvedRoles"], details["approvedScopes"]) == (
        "scope-upgrade", ["operator"], [READ],
    )  # fmt: skip
    assert "peergate devices approve" in details["remediationHint"]
    assert front.waiting[0]["isRepair"] is True
    assert (await front.knock(device))["ok"]


async def test_another_platform_is_another_device_until_somebody_says_otherwise(front):
    device = await front.paired(READ)
    client = {"id": "cli", "mode": "cli", "platform": "darwin", "deviceFamily": "Linux"}
    answer = await front.knock(device, client=client)
    assert answer["error"]["details"]["reason"] == "metadata-upgrade"
    line = next(line for line in await front.audit() if line["event"] == "connect.refused" and "Platform" in str(line))
    assert (line["detail"]["claimedPlatform"], line["detail"]["pinnedPlatform"]) == ("darwin", "linux")
    await front.box.services.pairing.approve(answer["error"]["details"]["requestId"], operator())
    assert (await front.knock(device, client=client))["ok"]


async def test_a_removed_device_is_unknown_again(front):
    device = await front.paired(READ)
    token = (await front.knock(device))["payload"]["auth"]["deviceToken"]
    await front.box.services.pairing.remove(device.id, operator())
    answer = await front.knock(device, auth={"deviceToken": token})
    assert told(answer)[1] == "AUTH_DEVICE_TOKEN_MISMATCH"
    assert (await front.knock(device))["error"]["details"]["reason"] == "not-paired"


async def test_a_node_pairs_for_its_role_and_may_call_nothing(front):
    node = await front.paired(role="node")
    guest = await front.guest()
    auth = (await guest.knock(node, role="node", scopes=[]))["payload"]["auth"]
    assert (auth["role"], auth["scopes"]) == ("node", [])
    await guest.send({"type": "req", "id": "2", "method": "status"})
    assert (await guest.hear())["ok"] is False
    as_operator = await front.knock(node, scopes=[READ])
    assert as_operator["error"]["details"]["reason"] == "role-upgrade"


async def test_a_device_without_scopes_is_closed_and_not_greeted(front):
    answer = await front.knock(await front.paired(READ), scopes=[])
    assert told(answer)[:2] == ("NOT_PAIRED", "PAIRING_REQUIRED")
    assert answer["error"]["details"]["reason"] == "no-scopes"


async def test_a_setup_code_pairs_the_first_device_that_shows_it_and_no_other(front):
    code = await front.box.services.pairing.new_setup_code("limited", operator())
    first, second = TestDevice(), TestDevice()
    hello = (await front.knock(first, auth={"bootstrapToken": code.token}, scopes=[READ, WRITE]))["payload"]
    assert (hello["auth"]["method"], hello["auth"]["scopes"]) == ("bootstrap-token", [READ, WRITE])
    assert [one["role"] for one in hello["auth"]["deviceTokens"]] == ["node"]
    answer = await front.knock(second, auth={"bootstrapToken": code.token}, scopes=[READ])
    assert told(answer)[1] == "AUTH_BOOTSTRAP_TOKEN_INVALID"
    back = await front.knock(first, auth={"deviceToken": hello["auth"]["deviceToken"]}, scopes=[READ])
    assert back["ok"]
    await front.box.services.pairing.remove(first.id, operator())
    again = await front.knock(first, auth={"bootstrapToken": code.token}, scopes=[READ])
    assert told(again)[1] == "AUTH_BOOTSTRAP_TOKEN_INVALID"


# --- whose process it is ----------------------------------------------------------------------------------------------

OURS, UNKNOWN, OUTSIDE = Held(1, "ours", agent="main"), Held(1, "unknown"), Held(1, "outside", uid=1000, cookie="a")


@pytest.mark.parametrize("holds", [[OURS, OUTSIDE], [OUTSIDE, OURS], [OURS, OURS]])
async def test_a_process_of_ours_is_refused_with_any_credential_and_leaves_nothing(front, holds):
    device = await front.paired(ADMIN)
    for who, more in ((device, {}), (TestDevice(), {}), (None, {"auth": {"token": TOKEN}})):
        front.holds = [*holds, holds[-1]]
        answer = await front.knock(who, address=HERE, scopes=[ADMIN], **more)
        assert told(answer)[1] == "AUTH_UNAUTHORIZED"
        assert "PEERGATE_SOCKET" in answer["error"]["message"]
    assert front.waiting == []
    assert {line["rule"] for line in await front.audit() if line["event"] == "connect.refused"} >= {"descent"}


@pytest.mark.parametrize(
    "holds", [[UNKNOWN, UNKNOWN], [OUTSIDE, UNKNOWN], [OUTSIDE, Held(1, "outside", uid=1000, cookie="b")]]
)
async def test_who_holds_the_socket_must_be_known_and_stay_the_same(front, holds):
    device = await front.paired(READ)
    front.holds = [*holds, holds[-1]]
    front.asked.clear()
    answer = await front.knock(device, address=HERE)
    assert (answer["error"]["code"], answer["error"]["retryable"]) == ("UNAVAILABLE", True)
    assert front.asked == [(("192.0.2.1", 18789), (HERE, 40000))] * 2


async def test_of_a_peer_on_another_host_is_asked_once(front):
    device = await front.paired(READ)
    front.asked.clear()
    assert (await front.knock(device, scopes=[READ]))["ok"]
    assert len(front.asked) == 1


async def test_a_process_of_ours_that_says_nothing_is_not_waited_for(front, autojump_clock):
    front.holds = [OURS]
    guest = await front.guest(HERE)
    assert (await guest.hear())["close"][0] == 1008
    assert (await guest.hear())["close"] is None
    assert front.refusals[-1].code == "OURS"


# --- modes the operator chose by name ---------------------------------------------------------------------------------


async def test_mode_none_lets_clients_in_with_the_scopes_they_ask_for_and_operators_alone_on_this_machine(tmp_path):
    async with open_front(tmp_path, {"auth": {"mode": "none"}}) as front:
        hello = (await front.knock(scopes=[ADMIN, "operator.fly"], auth={}))["payload"]
        assert hello["auth"] == {"role": "operator", "scopes": [ADMIN], "method": "none"}
        assert front.connections[-1].principal.kind is Kind.OPEN
        front.holds = [OUTSIDE]
        assert (await front.knock(address=HERE, auth={}))["ok"]
        front.holds = [Held(1, "outside", uid=1001, cookie="a")]
        answer = await front.knock(address=HERE, auth={})
        assert "gateway.unix.operators" in answer["error"]["message"]
        front.holds = [OURS]
        assert not (await front.knock(address=HERE, auth={}))["ok"]


PROXY = {
    "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "X-User"}}, "trustedProxies": ["192.0.2.0/24"],
}  # fmt: skip


async def test_a_trusted_proxy_vouches_for_a_user_and_the_client_keeps_its_own_address(tmp_path):
    async with open_front(tmp_path, PROXY) as front:
        headers = [("x-forwarded-for", "203.0.113.9"), ("x-user", "ann")]
        hello = (await front.knock(headers=headers, auth={}))["payload"]
        assert hello["auth"] == {"role": "operator", "scopes": [READ], "method": "trusted-proxy"}
        principal = front.connections[-1].principal
        assert (principal.user, principal.address) == ("ann", "203.0.113.9")
        without = await front.knock(headers=headers[:1], auth={})
        assert without["error"]["details"]["authReason"] == "trusted_proxy_user_missing"
        stranger = await front.knock(address="198.51.100.1", headers=headers, auth={})
        assert stranger["error"]["message"].startswith("gateway ingress attribution required")


async def test_an_empty_token_lets_nobody_in_from_outside(tmp_path):
    async with open_front(tmp_path, {"auth": {"mode": "token", "token": ""}}) as front:
        for device in (None, TestDevice()):
            for auth in ({}, {"token": ""}, {"token": "x"}):
                answer = await front.knock(device, auth=auth)
                assert told(answer)[1] == "AUTH_TOKEN_NOT_CONFIGURED"
                assert answer["error"]["message"].startswith("unauthorized: gateway token not configured on gateway (")


async def test_a_page_must_be_on_the_list(tmp_path):
    tree = {"auth": {"token": TOKEN}, "controlUi": {"allowedOrigins": ["https://ui.example:8443"]}}
    async with open_front(tmp_path, tree) as front:
        for origin in ("https://ui.example", "null", "http://192.0.2.1:18789"):
            answer = await front.knock(TestDevice(), headers=[("origin", origin)])
            assert told(answer)[:2] == ("INVALID_REQUEST", "CONTROL_UI_ORIGIN_NOT_ALLOWED")
            assert answer["close"][1].startswith("origin not allowed")
        good = [("origin", "https://ui.example:8443")]
        assert (await front.knock(TestDevice(), headers=good))["error"]["code"] == "NOT_PAIRED"
        twice = await front.knock(TestDevice(), headers=good * 2)
        assert told(twice)[1] == "CONTROL_UI_ORIGIN_NOT_ALLOWED"
