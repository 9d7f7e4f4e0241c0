"""Stories of asking, approving, rejecting and waiting too long, on a real database."""

from __future__ import annotations

import pytest
import trio

from gateway.protocol.devices import MAX_PENDING_PER_ADDRESS
from gateway.protocol.errors import Refusal
from gateway.services.pairing import requests, rules
from tests.support.calls import OPERATOR
from tests.support.engine import open_box
from tests.support.paired import ADMIN, PAIRING, READ, WRITE, asks, connected, device_id, pair, somebody


async def test_a_device_asks_is_seen_approved_and_known_after_a_restart(tmp_path, mock_clock, caplog):
    async with open_box(tmp_path) as box:
        pairing = box.services.pairing
        one = await asks(pairing, "phone", READ, WRITE)
        (event,) = box.listener.of("device.pair.requested")
        assert {"digest", "reason", "refreshedAtMs"}.isdisjoint(event)
        assert (event["silent"], event["isRepair"], event["scopes"]) == (False, False, (READ, WRITE))
        assert f"peergate devices approve {one.request_id}" in caplog.text
        assert '"phone" (linux, cli, cli) at 10.0.0.7 asks to be paired as operator with' in caplog.text
        device = await pairing.approve(one.request_id, OPERATOR, one.digest)
        (resolved,) = box.listener.of("device.pair.resolved")
        assert (resolved["decision"], resolved["requestId"]) == ("approved", one.request_id)
        assert pairing.list(OPERATOR)["pending"] == []
    async with open_box(tmp_path, generation=2) as box:
        again = box.services.pairing.device(device_id("phone"))
        assert again == device
        assert len(device.tokens[0].token) == 43


async def test_who_may_not_decide_hears_that_some_wait_and_nothing_of_them(box):
    for name in ("phone", "laptop"):
        await asks(box.services.pairing, name, READ)
    told = [(each["message"], each["fix"]) for each in box.listener.of("notice")]
    assert told == [
        ("1 pairing request waits for an operator", "peergate devices list"),
        ("2 pairing requests wait for an operator", "peergate devices list"),
    ]


async def test_asking_again_keeps_the_request_and_costs_no_write_at_once(box, mock_clock):
    one = await asks(box.services.pairing, "phone", READ)
    commits = box.services.database.commits
    assert await asks(box.services.pairing, "phone", READ) == one
    assert box.services.database.commits == commits
    mock_clock.jump(200)
    again = await asks(box.services.pairing, "phone", READ)
    assert (again.request_id, again.ts) == (one.request_id, one.ts)
    mock_clock.jump(200)  # the first five minutes are over, the second are not
    assert [each["requestId"] for each in box.services.pairing.list(OPERATOR)["pending"]] == [one.request_id]
    assert len(box.listener.of("device.pair.requested")) == 1


async def test_asking_for_more_is_another_request_that_nobody_approves_unseen(box):
    pairing = box.services.pairing
    little = await asks(pairing, "phone", READ)
    much = await asks(pairing, "phone", ADMIN)
    (resolved,) = box.listener.of("device.pair.resolved")
    assert (resolved["requestId"], resolved["decision"]) == (little.request_id, "rejected")
    with pytest.raises(Refusal, match="unknown requestId"):
        await pairing.approve(little.request_id, OPERATOR)
    with pytest.raises(Refusal, match="has changed since"):
        await pairing.approve(much.request_id, OPERATOR, little.digest)
    assert pairing.device(device_id("phone")) is None
    assert set((await pairing.approve(much.request_id, OPERATOR, much.digest)).scopes) == {READ, ADMIN}


async def test_one_approval_grants_both_roles_that_were_asked_for(box):
    pairing = box.services.pairing
    await asks(pairing, "phone", READ)
    both = await asks(pairing, "phone", role="node")
    device = await pairing.approve(both.request_id, OPERATOR)
    assert {(one.role, one.scopes) for one in device.tokens} == {("operator", (READ,)), ("node", ())}


async def test_a_device_that_asks_for_two_roles_in_turn_keeps_one_request(box):
    """Else the id somebody is about to type would be old with every try, and everybody told of each."""
    pairing = box.services.pairing
    await asks(pairing, "phone", READ)
    both = await asks(pairing, "phone", role="node")
    again = [await asks(pairing, "phone", READ), await asks(pairing, "phone", role="node")]
    assert {one.request_id for one in again} == {both.request_id}
    assert len(box.listener.of("device.pair.requested")) == 2
    assert set((await pairing.approve(both.request_id, OPERATOR, both.digest)).roles) == {"operator", "node"}


async def test_a_request_waits_five_minutes(box, mock_clock):
    pairing = box.services.pairing
    one = await asks(pairing, "phone", READ)
    mock_clock.jump(301)
    with pytest.raises(Refusal, match="unknown requestId"):
        await pairing.approve(one.request_id, OPERATOR)
    await pairing.clean()
    assert [each["decision"] for each in box.listener.of("device.pair.resolved")] == ["rejected"]
    assert box.services.pairing.list(OPERATOR)["pending"] == []


async def test_an_address_cannot_fill_the_list(box, monkeypatch):
    monkeypatch.setattr(requests, "MAX_PENDING", MAX_PENDING_PER_ADDRESS + 2)
    pairing = box.services.pairing
    for number in range(MAX_PENDING_PER_ADDRESS):
        await asks(pairing, f"d{number}", READ)
    with pytest.raises(Refusal, match=r"too many pairing requests of 10\.0\.0\.7 wait") as refused:
        await asks(pairing, "one more", READ)
    assert refused.value.shape.retryable
    await asks(pairing, "d0", ADMIN)  # who waits already may ask for something else
    for number in range(2):
        await asks(pairing, f"elsewhere {number}", READ, ip=f"2001:db8:{number}::1")
    with pytest.raises(Refusal, match="too many pairing requests wait"):
        await asks(pairing, "elsewhere", READ, ip="10.0.0.8")


async def test_an_approver_grants_no_more_than_they_have(box):
    pairing = box.services.pairing
    one = await asks(pairing, "phone", READ, WRITE)
    with pytest.raises(Refusal, match=r"^INVALID_REQUEST: missing scope: operator\.write$"):
        await pairing.approve(one.request_id, somebody(PAIRING, READ))
    node = await asks(pairing, "tablet", role="node")
    with pytest.raises(Refusal, match=r"missing scope: operator\.admin"):
        await pairing.approve(node.request_id, somebody(PAIRING, WRITE))
    assert (await pairing.approve(one.request_id, somebody(PAIRING, WRITE))).scopes == (READ, WRITE)


async def test_an_approval_of_little_does_not_renew_what_the_approver_lacks(box):
    """The device has an admin token; whoever re-approves it for reading would hand that out again."""
    pairing = box.services.pairing
    await pair(pairing, "phone", ADMIN)
    again = await asks(pairing, "phone", READ, reason="metadata-upgrade", platform="android")
    with pytest.raises(Refusal, match=r"missing scope: operator\.admin"):
        await pairing.approve(again.request_id, somebody(PAIRING, READ))


async def test_a_device_with_its_token_decides_about_nobody_else(box):
    pairing = box.services.pairing
    await pair(pairing, "helper", PAIRING, READ)
    one = await asks(pairing, "phone", READ)
    by = connected("helper", PAIRING, READ)
    for refused in (pairing.approve(one.request_id, by), pairing.approve("no such", by)):
        with pytest.raises(Refusal, match=r"^INVALID_REQUEST: device pairing approval denied$"):
            await refused
    with pytest.raises(Refusal, match="device pairing rejection denied"):
        await pairing.reject(one.request_id, by)
    assert pairing.list(by)["pending"] == []
    assert [each["deviceId"] for each in pairing.list(by)["paired"]] == [device_id("helper")]


async def test_a_rejected_device_is_gone_and_may_ask_again(box):
    pairing = box.services.pairing
    one = await asks(pairing, "phone", READ)
    assert (await pairing.reject(one.request_id, somebody(PAIRING))).device_id == device_id("phone")
    assert box.listener.of("device.pair.resolved")[0]["decision"] == "rejected"
    assert (await asks(pairing, "phone", READ)).request_id != one.request_id


async def test_two_who_approve_at_once_grant_once(box):
    pairing = box.services.pairing
    one = await asks(pairing, "phone", READ)
    done: list[str] = []

    async def approve() -> None:
        try:
            await pairing.approve(one.request_id, OPERATOR)
            done.append("approved")
        except Refusal as refusal:
            done.append(refusal.shape.message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(approve)
        nursery.start_soon(approve)
    assert sorted(done) == ["approved", "unknown requestId"]


async def test_memory_follows_before_anybody_is_answered(box):
    pairing = box.services.pairing
    one = await asks(pairing, "phone", READ)
    device = await pairing.approve(one.request_id, OPERATOR)
    assert pairing.device(device.device_id) is device
    assert rules.usable(device.tokens[0], "any generation")


async def test_what_has_expired_goes_by_itself(box, mock_clock):
    await asks(box.services.pairing, "phone", READ)
    mock_clock.jump(301)
    for _ in range(3):
        await box.settle()
    count = box.services.database.read(lambda db: db.execute("SELECT count(*) FROM pairing_requests").fetchone())
    assert count == (0,)
    assert box.listener.of("device.pair.resolved")[0]["decision"] == "rejected"
