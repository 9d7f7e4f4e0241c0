"""What a client may say before it has been greeted, how often it may fail, what hello-ok tells, and what is written
down."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import replace
from trio.testing import wait_all_tasks_blocked

from gateway.auth.ratelimit import Rule
from gateway.protocol.limits import HELLO_DEADLINE_MS, MAX_CONNECTIONS_PER_PRINCIPAL, MAX_HELLO_BYTES
from supervisor.messages import Held
from tests.gateway.auth.signing import TestDevice
from tests.gateway.greet.front import AFAR, HERE, TOKEN, Front, Guest, open_front

READ, ADMIN = "operator.read", "operator.admin"
OUTSIDE = Held(1, "outside", uid=1000, cookie="a")


@pytest.fixture
async def front(tmp_path) -> AsyncIterator[Front]:
    async with open_front(tmp_path) as one:
        yield one


def request(id: str, method: str, **params: Any) -> dict[str, Any]:
    return {"type": "req", "id": id, "method": method, "params": params}


# --- the first words --------------------------------------------------------------------------------------------------


async def test_silence_is_ended_without_a_word(front, autojump_clock):
    began = trio.current_time()
    guest = await front.guest()
    assert (await guest.hear())["close"] == [1000, ""]
    assert trio.current_time() - began == pytest.approx(HELLO_DEADLINE_MS / 1000)


@pytest.mark.parametrize(
    ("frame", "error", "close"),
    [
        (b"not json", None, [1008, "invalid request frame"]),
        ({"type": "event", "event": "ping"}, None, [1008, "invalid request frame"]),
        (b"[" * 60_000, None, [1008, "invalid request frame"]),
        (
            request("9", "health"),
            "invalid handshake: first request must be connect",
            [1008, "invalid handshake: first request must be connect"],
        ),
        (request("9", "connect", minProtocol="four"), "invalid connect params: ", None),
        (request("9", "connect", minProtocol=5, maxProtocol=6), "protocol mismatch", [1002, "protocol mismatch"]),
        (request("9", "connect", role="king"), "invalid role", [1008, "invalid role"]),
        (request("9", "connect", role="worker"), "invalid-handshake", None),
    ],
    ids=["text", "event", "nesting", "method", "params", "protocol", "role", "worker"],
)
async def test_what_is_no_hello(front, frame: Any, error: str | None, close: list[Any] | None):
    guest = await front.guest()
    await guest.send(frame)
    if error is not None:
        answer = await guest.hear()
        assert (answer["id"], answer["error"]["code"]) == ("9", "INVALID_REQUEST")
        assert answer["error"]["message"].startswith(error)
        assert close is not None or (await guest.hear())["close"][0] == 1008
    if close is not None:
        assert (await guest.hear())["close"] == close


async def test_a_hello_has_a_size(front):
    guest = await front.guest()
    await guest.send(b" " * (MAX_HELLO_BYTES + 1))
    assert (await guest.hear())["close"][0] == 1009


async def doubted(front: Front) -> tuple[Guest, trio.Event]:
    """A guest on this host, of whom the supervisor says once more who it is when the event is set."""
    front.holds, release = [OUTSIDE], trio.Event()
    guest = await front.guest(HERE)

    async def slowly(local: Any, remote: Any) -> Held:
        await release.wait()
        return OUTSIDE

    msgspec.structs.force_setattr(front.desk, "holder", slowly)
    return guest, release


async def test_calls_sent_behind_connect_are_answered_in_order_once_it_is_in(front):
    device = await front.paired(READ)
    guest, release = await doubted(front)
    params = device.tree(nonce=guest.nonce, now=guest.ts, auth={"token": TOKEN})
    await guest.send(request("1", "connect", **params))
    for number in range(15):
        await guest.send(request(f"early-{number}", "health"))
    await wait_all_tasks_blocked()
    release.set()
    assert (await guest.hear())["payload"]["type"] == "hello-ok"
    await guest.send(request("late", "health"))
    with trio.fail_after(10):
        heard = [await guest.hear() for _ in range(16)]
    assert [frame["id"] for frame in heard] == [*(f"early-{number}" for number in range(15)), "late"]
    assert all(frame["ok"] for frame in heard)


async def test_sixteen_calls_before_the_answer_are_too_many(front):
    guest, _ = await doubted(front)
    await guest.send(request("1", "connect"))
    for number in range(16):
        await guest.send(request(f"{number}", "health"))
    with trio.fail_after(10):
        assert (await guest.hear())["close"] == [1008, "too many pending handshake frames"]


async def test_who_hangs_up_while_it_is_decided_about_leaves_no_connection(front):
    device = await front.paired(READ)
    guest, release = await doubted(front)
    await guest.send(request("1", "connect", **device.tree(nonce=guest.nonce, now=guest.ts, auth={"token": TOKEN})))
    guest.sock.close()
    await wait_all_tasks_blocked()
    release.set()
    await front.box.settle()
    assert (len(front.registry), front.house.hub.connections) == (0, 0)


async def test_a_supervisor_that_does_not_answer_lets_nobody_in(front, mock_clock):
    device = await front.paired(READ)
    front.holds = [OUTSIDE]
    guest = await front.guest(HERE)
    mock_clock.autojump_threshold = 0

    async def never(local: Any, remote: Any) -> Held:
        with trio.fail_after(5):
            await trio.sleep_forever()
        raise AssertionError

    msgspec.structs.force_setattr(front.desk, "holder", never)
    answer = await guest.knock(device)
    assert (answer["error"]["code"], answer["error"]["retryable"]) == ("UNAVAILABLE", True)


async def test_a_secret_that_was_changed_while_it_greeted_is_worth_nothing(front):
    device = await front.paired(READ)
    guest = await front.guest()
    front.policy = replace(front.policy, secrets=dataclasses.replace(front.policy.secrets, token="a new one"))
    assert (await guest.knock(device))["error"]["details"]["authReason"] == "token_mismatch"


async def test_one_of_ours_that_says_nothing_is_written_down_all_the_same(front, autojump_clock):
    front.holds = [Held(1, "ours", uid=0, agent="main", session="agent:main:main", detail="pid 7 is a tool")]
    guest = await front.guest()
    assert (await guest.hear())["close"] == [1008, "no connect in time"]
    assert await guest.hear() == {"close": None}
    (line,) = await front.audit()
    assert (line["event"], line["rule"], line["address"]) == ("connect.refused", "descent", AFAR)
    assert "agent:main:main" in line["detail"]["detail"]
    assert (front.refusals[-1].code, "agent:main:main" in front.refusals[-1].detail) == ("OURS", True)


# --- failing ----------------------------------------------------------------------------------------------------------


async def test_after_ten_wrong_tokens_the_right_one_is_not_listened_to_for_a_while(front, mock_clock):
    device = await front.paired(READ)
    own = (await front.knock(device))["payload"]["auth"]["deviceToken"]
    for _ in range(10):
        await front.knock(auth={"token": "guess"})
    answer = await front.knock(device)
    details = answer["error"]["details"]
    assert (details["code"], details["recommendedNextStep"]) == ("AUTH_RATE_LIMITED", "wait_then_retry")
    assert answer["error"]["retryAfterMs"] == details["retryAfterMs"] == 300_000
    assert answer["close"][1] == "unauthorized: too many failed authentication attempts (retry later)"
    assert (await front.knock(device, auth={"deviceToken": own}))["ok"], "its own token is counted apart"
    assert (await front.knock(device, address="192.0.2.8"))["ok"], "so is another address"
    mock_clock.jump(300)
    assert (await front.knock(device))["ok"]


async def test_one_that_knows_the_secret_starts_anew(front):
    device = await front.paired(READ)
    for _ in range(2):
        for _ in range(9):
            await front.knock(auth={"token": "guess"})
        assert (await front.knock(device))["ok"]


async def test_attempts_side_by_side_do_not_get_past_the_count(front, mock_clock):
    codes: list[str] = []

    async def guess() -> None:
        codes.append((await front.knock(auth={"token": "guess"}))["error"]["details"]["code"])

    async with trio.open_nursery() as nursery:
        for _ in range(25):
            nursery.start_soon(guess)
    assert (codes.count("AUTH_TOKEN_MISMATCH"), codes.count("AUTH_RATE_LIMITED")) == (10, 15)


async def test_who_guesses_on_this_machine_waits_longer_each_time_and_is_not_locked_out(front, autojump_clock):
    front.holds = [OUTSIDE]
    waits = []
    for _ in range(12):
        began = trio.current_time()
        await front.knock(address=HERE, auth={"token": "guess"})
        waits.append(round(trio.current_time() - began, 2))
    assert waits[:6] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0]
    assert waits[6:] == [5.0] * 6
    assert (await front.knock(TestDevice(), address=HERE))["error"]["code"] == "NOT_PAIRED"


async def test_a_page_on_this_machine_is_locked_out_like_anybody(tmp_path):
    tree = {"auth": {"token": TOKEN}, "controlUi": {"allowedOrigins": ["http://localhost:3000"]}}
    async with open_front(tmp_path, tree, rate=Rule(max_attempts=2)) as front:
        page = [("origin", "http://localhost:3000")]
        codes = [
            (await front.knock(address=HERE, headers=page, auth={"token": "x"}))["error"]["details"]["code"]
            for _ in range(3)
        ]
        assert codes == ["AUTH_TOKEN_MISMATCH", "AUTH_TOKEN_MISMATCH", "AUTH_RATE_LIMITED"]
        assert (await front.knock(TestDevice(), address=HERE))["error"]["code"] == "NOT_PAIRED"


async def test_requests_of_one_address_are_bounded_and_the_next_is_told_to_wait(front):
    answers = [await front.knock(TestDevice()) for _ in range(9)]
    assert [one["error"]["code"] for one in answers] == ["NOT_PAIRED"] * 8 + ["UNAVAILABLE"]
    assert answers[-1]["error"]["retryable"] is True
    assert "peergate devices" in answers[-1]["error"]["message"]
    assert len(front.waiting) == 8


async def test_one_device_has_so_many_connections_and_no_more(front):
    device = await front.paired(READ)
    for _ in range(MAX_CONNECTIONS_PER_PRINCIPAL):
        assert (await front.knock(device))["ok"]
    answer = await front.knock(device)
    assert (answer["error"]["code"], answer["error"]["retryable"]) == ("UNAVAILABLE", True)
    front.guests[1].sock.close()  # the first one was the pairing
    while len(front.registry) == MAX_CONNECTIONS_PER_PRINCIPAL:
        await trio.lowlevel.checkpoint()
    assert (await front.knock(device))["ok"]


# --- what it hears ----------------------------------------------------------------------------------------------------


async def test_hello_says_what_openclaws_clients_read(front):
    hello = (await front.knock(await front.paired(READ)))["payload"]
    assert set(hello) == {"type", "protocol", "server", "features", "snapshot", "auth", "policy"}
    assert hello["protocol"] == 4
    assert hello["server"] == {"version": "0.1.0", "connId": front.connections[-1].id}
    assert "health" in hello["features"]["methods"]
    assert {"tick", "presence"} <= set(hello["features"]["events"])
    assert hello["policy"]["maxPayload"] == 26_214_400
    assert hello["policy"]["tickIntervalMs"] == 30_000
    snapshot = hello["snapshot"]
    assert (snapshot["uptimeMs"], snapshot["stateVersion"]) == (7, {"presence": 1, "health": 2})
    assert snapshot["presence"][0]["mode"] == "gateway"
    assert snapshot["health"]["defaultAgentId"] == "main"
    assert snapshot["sessionDefaults"] == {
        "defaultAgentId": "main", "mainKey": "main", "mainSessionKey": "agent:main:main", "scope": "per-sender",
        "ownership": "sole", "selectionRequired": False,
    }  # fmt: skip
    assert not {"configPath", "stateDir", "authMode"} & set(snapshot)


async def test_an_administrator_hears_where_things_are_and_who_may_not_read_hears_little(front):
    admin = (await front.knock(await front.paired(ADMIN), scopes=[ADMIN]))["payload"]["snapshot"]
    assert (admin["configPath"], admin["stateDir"], admin["authMode"]) == ("/c", "/s", "token")
    node = (await front.knock(await front.paired(role="node"), role="node", scopes=[]))["payload"]["snapshot"]
    assert (node["presence"], node["health"]) == ([], {"ok": True})


@pytest.mark.parametrize(("least", "most", "spoken"), [(3, 3, 3), (3, 4, 4), (4, 9, 4)])
async def test_protocols_three_and_four_are_spoken(front, least, most, spoken):
    device = await front.paired(READ)
    assert (await front.knock(device, minProtocol=least, maxProtocol=most))["payload"]["protocol"] == spoken


# --- what is written down ---------------------------------------------------------------------------------------------


async def test_every_refusal_is_a_line_in_the_audit_and_in_the_table_and_no_secret_is_in_either(front, caplog):
    caplog.set_level(logging.DEBUG)
    device = TestDevice()
    secret = "very-secret-indeed"
    for auth in ({"token": secret}, {"password": secret}, {"deviceToken": secret}, {"bootstrapToken": secret}):
        await front.knock(device, auth=auth)
    await front.knock(device)
    await front.box.settle()
    refused = [line for line in await front.audit() if line["event"] == "connect.refused"]
    assert [line["rule"] for line in refused] == [
        "auth: token_mismatch", "auth: token_mismatch", "auth: device_token_mismatch", "auth: bootstrap_token_invalid",
        "pairing: not-paired",
    ]  # fmt: skip
    assert {(line["device"], line["address"], line["detail"]["client"]) for line in refused} == {
        (device.id, AFAR, "cli")
    }
    assert {line["conn"] for line in refused} == {connection.id for connection in front.connections}
    assert [(one.code, one.who, one.door) for one in front.refusals] == [
        *[("UNAUTHORIZED", f"cli at {AFAR}", "outer:0")] * 4, ("NOT_PAIRED", f"cli at {AFAR}", "outer:0"),
    ]  # fmt: skip
    written = repr(refused) + repr(front.refusals) + caplog.text + repr([record.__dict__ for record in caplog.records])
    assert secret not in written
    assert TOKEN not in written


async def test_what_a_client_calls_itself_cannot_act_on_a_terminal(front):
    await front.knock(client={"id": "\x1b[2Jcli", "mode": "cli"})
    await front.box.settle()
    assert "\x1b" not in repr(front.refusals[-1].who)
    assert "\\u001b" not in msgspec.json.encode(await front.audit()).decode()
