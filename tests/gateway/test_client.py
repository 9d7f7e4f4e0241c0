"""The client against real connections: answers to the right caller, events in order, and every end told."""

from __future__ import annotations

import socket

import pytest
import trio

from gateway.auth.facts import PeerFacts
from gateway.auth.principal import Principal, Refused
from gateway.client import MAX_UNREAD_EVENTS, CallFailed, ConnectionLost, open_client
from gateway.protocol.calls.agents import OneAgent
from gateway.protocol.errors import CloseReason
from gateway.router import Call
from tests.support.doors import ME, Place, open_place, operator


def health(call: Call) -> object:
    return {"ok": True}


async def agent(call: Call) -> object:
    call.answer_now({"status": "accepted"})
    return {"status": "ok"}


async def wait(call: Call) -> object:
    await trio.sleep(call.params.timeout_ms / 1000)
    return call.params.run_id


def stop(call: Call) -> object:
    return call.params.agent_id


HANDLERS = {"health": health, "agent": agent, "agent.wait": wait, "agents.stop": stop}


@pytest.fixture
async def place():
    async with open_place(HANDLERS) as one:
        yield one


@pytest.fixture
async def door(place, tmp_path, nursery):
    """A listening socket whose visitors are operators."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(128)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        nursery.start_soon(attend, listener, place, operator())
        yield str(tmp_path / "s")
        nursery.cancel_scope.cancel()


async def attend(listener: socket.socket, place: Place, verdict: Principal | Refused) -> None:
    listener.setblocking(False)
    while True:
        await trio.lowlevel.wait_readable(listener)
        sock = listener.accept()[0]
        connection = place.connection(sock, PeerFacts(ME, 0, 0), verdict)
        place.nursery.start_soon(connection.serve, lambda: None)


async def test_a_call_gets_its_answer(door):
    async with open_client(door) as client:
        assert client.hello["type"] == "hello-ok"
        assert await client.call("health") == {"ok": True}
        assert await client.call("agents.stop", {"agentId": "main"}) == "main"
        assert await client.call("agents.stop", OneAgent("scout"), timeout=5) == "scout"


async def test_calls_of_many_tasks_get_their_own_answers(door):
    async with open_client(door) as client, trio.open_nursery() as nursery:

        async def ask(name: str) -> None:
            for round in range(20):
                assert await client.call("agents.stop", {"agentId": f"{name}{round}"}) == f"{name}{round}"

        for name in "abcdefgh":
            nursery.start_soon(ask, name)


async def test_a_method_that_answers_twice_is_heard_twice(door):
    async with open_client(door) as client:
        assert await client.call_final("agent", {"message": "hi", "idempotencyKey": "k"}) == (
            {"status": "accepted"},
            {"status": "ok"},
        )


async def test_a_refusal_is_an_exception_with_its_words(door):
    async with open_client(door) as client:
        with pytest.raises(CallFailed, match="INVALID_REQUEST: unknown method: invented") as caught:
            await client.call("invented")
        assert (caught.value.code, caught.value.details) == ("INVALID_REQUEST", {})
        assert caught.value.message.startswith("unknown method")


async def test_a_call_that_takes_too_long_is_given_up_and_the_next_is_answered(door, autojump_clock):
    async with open_client(door) as client:
        with pytest.raises(trio.TooSlowError):
            await client.call("agent.wait", {"runId": "r", "timeoutMs": 60_000}, timeout=1)
        assert await client.call("agent.wait", {"runId": "r", "timeoutMs": 1}) == "r"
        assert client._calls == {}


async def test_events_arrive_in_order(door, place):
    async with open_client(door, events=True) as client:
        for number in range(3):
            place.hub.publish("tick", {"ts": number})
        assert [(await client.events.receive()).seq for _ in range(3)] == [1, 2, 3]


async def test_when_the_gateway_ends_it_every_caller_learns_why(door, place):
    lost: list[str] = []

    async def ask() -> None:
        with pytest.raises(ConnectionLost) as caught:
            await client.call("agent.wait", {"runId": "r", "timeoutMs": 60_000})
        lost.append(caught.value.reason)

    async with open_client(door, events=True) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            place.registry.retire_all()
        assert lost == ["service restart"] * 3
        assert await client.wait_closed() == client.lost == "service restart"
        with pytest.raises(ConnectionLost, match="service restart"):
            await client.call("health")
        with pytest.raises(trio.EndOfChannel):
            await client.events.receive()


async def test_events_nobody_reads_end_the_connection_rather_than_leave_a_gap(door, place):
    async with open_client(door, events=True) as client:
        for number in range(MAX_UNREAD_EVENTS + 1):
            place.hub.publish("tick", {"ts": number})
        assert "were not read" in await client.wait_closed()


async def test_an_exception_in_the_block_comes_out_as_it_is(door):
    with pytest.raises(KeyError):
        async with open_client(door):
            raise KeyError("mine")


async def test_being_refused_at_the_door_raises_what_the_gateway_said(place, tmp_path, nursery):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        nursery.start_soon(attend, listener, place, Refused(CloseReason.STRANGER, "uid 7 is no operator"))
        with pytest.raises(CallFailed, match="uid 7 is no operator"):
            async with open_client(str(tmp_path / "s")):
                raise AssertionError("it was let in")
        nursery.cancel_scope.cancel()


async def test_a_gateway_that_does_not_answer_is_not_waited_for_for_ever(tmp_path, autojump_clock):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(trio.TooSlowError):
            async with open_client(str(tmp_path / "s"), connect_timeout=2):
                raise AssertionError("it was greeted")


async def test_where_nobody_listens_the_error_is_the_kernels(tmp_path):
    with pytest.raises(FileNotFoundError):
        async with open_client(str(tmp_path / "nothing")):
            raise AssertionError("it connected")
