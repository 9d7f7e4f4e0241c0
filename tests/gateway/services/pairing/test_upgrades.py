"""A connected device asks for more scopes, and waits for what a person decides."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from gateway.protocol.errors import Refusal
from tests.support.calls import OPERATOR
from tests.support.paired import READ, WRITE, connected, device_id, pair


@pytest.fixture
async def pairing(box):
    await pair(box.services.pairing, "phone", READ)
    return box.services.pairing


PHONE = connected("phone", READ)


async def answer_to(pairing, request_id: str, decide) -> dict[str, Any]:
    """What the device hears when `decide` is done while it waits."""
    told: list[dict[str, Any]] = []

    async def wait() -> None:
        told.append(await pairing.wait_upgrade(PHONE, request_id))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await decide()
    return told[0]


async def test_an_approved_upgrade_gives_the_device_its_token(pairing):
    one = await pairing.request_upgrade(PHONE, [READ, WRITE])
    told = await answer_to(pairing, one.request_id, lambda: pairing.approve(one.request_id, OPERATOR))
    token = pairing.device(device_id("phone")).token("operator")
    assert told == {
        "status": "approved", "requestId": one.request_id, "deviceToken": token.token, "scopes": [READ, WRITE],
    }  # fmt: skip
    assert await pairing.wait_upgrade(PHONE, f" {one.request_id} ") == told


async def test_a_rejected_upgrade_gives_nothing(pairing):
    one = await pairing.request_upgrade(PHONE, [READ, WRITE])
    told = await answer_to(pairing, one.request_id, lambda: pairing.reject(one.request_id, OPERATOR))
    assert told == {"status": "rejected", "requestId": one.request_id}


async def test_an_upgrade_nobody_decides_about_expires(pairing, mock_clock):
    one = await pairing.request_upgrade(PHONE, [READ, WRITE])

    async def wait_long() -> None:
        mock_clock.jump(301)

    assert (await answer_to(pairing, one.request_id, wait_long))["status"] == "expired"


async def test_a_device_hears_of_its_own_requests_only(pairing):
    await pair(pairing, "other", READ)
    one = await pairing.request_upgrade(PHONE, [READ, WRITE])
    await pairing.approve(one.request_id, OPERATOR)
    for who, request in ((connected("other", READ), one.request_id), (PHONE, "no such")):
        with pytest.raises(Refusal, match="scope upgrade expired or not found"):
            await pairing.wait_upgrade(who, request)


@pytest.mark.parametrize(
    ("who", "scopes", "why"),
    [
        (PHONE, [WRITE, "operator.everything"], "unknown operator scope"),
        (PHONE, ["operator.approvals"], "must include the connection's current scopes"),
        (PHONE, [], "1 to 8 scopes"),
        (PHONE, [f"operator.{number}" for number in range(9)], "1 to 8 scopes"),
        (OPERATOR, [WRITE], "requires a paired device"),
        (connected("stranger", READ), [WRITE], "requires a paired device"),
        (connected("phone", READ, role="node"), [WRITE], "requires a paired device"),
    ],
)
async def test_who_may_not_ask_is_told_why(pairing, who, scopes: list[str], why: str):
    with pytest.raises(Refusal, match=why):
        await pairing.request_upgrade(who, scopes)
