"""The client over the network against a real door: pairing, coming back, losing a connection and replacing it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio

from gateway.client import Access, CallFailed, Client, ConnectionLost, open_client, reconnecting
from gateway.client.remote import RemoteClient
from gateway.protocol.errors import CloseReason
from tests.gateway.greet.front import open_front
from tests.support.doors import operator
from tests.support.outer_door import open_outer_door
from tests.support.visitor import READ, approve, pair, remembered, shown


async def test_a_new_device_is_refused_with_a_request_and_let_in_once_that_is_approved(front, door, keep):
    with pytest.raises(CallFailed) as refused:
        async with open_client(door.url, access=shown(keep)):
            pass
    assert (refused.value.code, refused.value.details["reason"]) == ("NOT_PAIRED", "not-paired")
    (request,) = front.waiting
    assert refused.value.details["requestId"] == request["requestId"]
    await approve(front, refused.value)
    async with open_client(door.url, access=shown(keep)) as client:
        assert client.hello["auth"]["scopes"] == [READ]
        assert (await client.call("health"))["ok"] is True


async def test_what_describes_the_client_is_what_the_person_who_approves_sees(front, door, keep):
    about = {"id": "cli", "mode": "cli", "displayName": "ann on laptop"}
    with pytest.raises(CallFailed):
        async with open_client(door.url, access=shown(keep), client=about):
            pass
    (request,) = front.waiting
    assert (request["displayName"], request["clientId"], request["clientMode"]) == ("ann on laptop", "cli", "cli")
    assert request["platform"] == "linux"


async def test_a_paired_device_comes_back_with_its_own_token_and_the_scopes_it_was_given(front, door, keep):
    await pair(front, door, keep)
    async with open_client(door.url, access=Access(directory=str(keep))) as client:
        assert (client.hello["auth"]["method"], client.hello["auth"]["scopes"]) == ("device-token", [READ])
    assert remembered(keep, door)["tokens"]["operator"]["scopes"] == [READ]


async def test_a_setup_code_pairs_at_once(front, door, keep):
    code = await front.box.services.pairing.new_setup_code("limited", operator())
    access = Access(setup=code.token, directory=str(keep))
    async with open_client(door.url, access=access) as client:
        assert client.hello["auth"]["method"] == "bootstrap-token"
        assert READ in client.hello["auth"]["scopes"]
    async with open_client(door.url, access=Access(directory=str(keep))) as client:
        assert client.hello["auth"]["method"] == "device-token"


async def test_a_password_is_shown_and_never_signed(tmp_path, pem, keep):
    tree = {"auth": {"mode": "password", "password": "opensesame"}}
    async with open_front(tmp_path, tree) as front, open_outer_door(front, pem) as door:
        with pytest.raises(CallFailed) as refused:
            async with open_client(door.url, access=shown(keep, token="", password="opensesame")):
                pass
        assert refused.value.code == "NOT_PAIRED"
        with pytest.raises(CallFailed) as wrong:
            async with open_client(door.url, access=shown(keep, token="", password="sesame")):
                pass
        assert wrong.value.details["code"] == "AUTH_PASSWORD_MISMATCH"


async def test_a_wrong_token_is_told_as_such_and_leaves_no_request(front, door, keep):
    with pytest.raises(CallFailed) as refused:
        async with open_client(door.url, access=shown(keep, token="guessed")):
            pass
    assert refused.value.details["code"] == "AUTH_TOKEN_MISMATCH"
    assert "guessed" not in f"{refused.value} {refused.value.shape} {Access(token='guessed')}"
    assert front.waiting == []


async def test_a_removed_device_loses_its_connection_and_is_told_why(front, door, keep):
    await pair(front, door, keep)
    pairing = front.box.services.pairing
    async with open_client(door.url, access=shown(keep)) as client:
        assert isinstance(client, RemoteClient)
        await pairing.remove(client.device.id, operator())
        reason = await client.wait_closed()
        with pytest.raises(ConnectionLost) as lost:
            await client.call("health")
    assert reason == "closed by the gateway: client invalidated: device-pair-removed (4001)"
    assert lost.value.code == 4001
    with pytest.raises(CallFailed) as refused:
        async with open_client(door.url, access=Access(directory=str(keep))):
            pass
    assert refused.value.details["code"] == "AUTH_DEVICE_TOKEN_MISMATCH"


async def test_events_come_without_asking(front, door, keep):
    await pair(front, door, keep)
    async with open_client(door.url, access=shown(keep)) as client:
        front.house.hub.publish("presence", {"presence": []})
        with trio.fail_after(5):
            event = await client.events.receive()
    assert (event.event, event.payload) == ("presence", {"presence": []})


async def test_large_answers_and_many_calls_at_once_arrive(front, door, keep):
    await pair(front, door, keep)
    answers: list[Any] = []
    async with open_client(door.url, access=shown(keep)) as client, trio.open_nursery() as nursery:

        async def ask() -> None:
            answers.append((await client.call("agents.list"))["defaultId"])

        for _ in range(50):
            nursery.start_soon(ask)
    assert answers == ["main"] * 50


# --- connecting again -------------------------------------------------------------------------------------------------


async def test_a_lost_connection_is_replaced_and_the_work_goes_on(front, door, keep, monkeypatch):
    monkeypatch.setattr("gateway.client.again.FIRST_SECONDS", 0.01)
    await pair(front, door, keep)
    lives: list[str] = []

    async def use(client: Client) -> str:
        lives.append(client.hello["server"]["connId"])
        if len(lives) < 3:
            door.live[-1].end(CloseReason.SHUTDOWN, "")
            await client.call("health")
        return "done"

    assert await reconnecting(partial(open_client, door.url, access=shown(keep)), use) == "done"
    assert len(set(lives)) == 3


async def test_nobody_tries_again_what_only_a_person_can_change(front, door, keep):
    async def use(client: Client) -> None:
        raise AssertionError("it was let in")

    with pytest.raises(CallFailed, match="pairing required"):
        await reconnecting(partial(open_client, door.url, access=shown(keep)), use)
