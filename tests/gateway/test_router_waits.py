"""Calls that may wait: answered at once, by a task, or later without one."""

from __future__ import annotations

from gateway.protocol.errors import ErrorShape, unavailable
from gateway.router import Call
from gateway.services.later import Later, Tell
from tests.support.doors import operator
from tests.support.router import Listener, make_router, request


async def test_a_plain_handler_of_a_call_that_may_wait_gives_the_answer_or_what_will_have_it():
    begun: list[Tell] = []

    async def at_length() -> str:
        return "by a task"

    def wait(call: Call) -> object:
        return at_length() if call.id == "2" else Later(begun.append) if call.id == "3" else "at once"

    peer, router = Listener(operator()), make_router(agent__wait=wait)
    for id in ("1", "2", "3"):
        router.dispatch(peer, request("agent.wait", {"runId": "r"}, id))
    assert peer.answers == [("1", "at once")]
    assert peer.in_flight == {"2", "3"}
    (tell,) = begun
    tell("later")
    await peer.finish()
    assert peer.answers[1:] == [("3", "later"), ("2", "by a task")]
    assert peer.in_flight == set()


async def test_what_comes_later_may_be_a_refusal_or_break(caplog):
    begun: list[Tell] = []
    peer, router = Listener(operator()), make_router(agent__wait=lambda call: Later(begun.append))
    for id in ("no", "broken", "odd"):
        router.dispatch(peer, request("agent.wait", {"runId": "r"}, id))
    for tell, outcome in zip(begun, (unavailable("not now"), ValueError("secret"), object()), strict=True):
        tell(outcome)
    told = {id: error.message for id, error in peer.answers if isinstance(error, ErrorShape)}
    assert told["no"] == "not now"
    assert told["broken"].startswith("internal error")
    assert told["odd"].startswith("internal error")
    assert "secret" not in str(told)
    assert peer.in_flight == set()


def test_what_cannot_even_be_begun_leaves_no_call_in_flight(caplog):
    def begin(tell: Tell) -> None:
        raise ValueError("nothing can be read")

    peer, router = Listener(operator()), make_router(agent__wait=lambda call: Later(begin))
    router.dispatch(peer, request("agent.wait", {"runId": "r"}))
    assert peer.error.message.startswith("internal error")
    assert peer.in_flight == set()


def test_a_call_that_waits_begins_nothing_under_an_id_that_is_in_flight():
    begun: list[Tell] = []
    calls: list[Call] = []

    def wait(call: Call) -> Later:
        calls.append(call)
        return Later(begun.append)

    peer, router = Listener(operator()), make_router(agent__wait=wait)
    for _ in range(2):
        router.dispatch(peer, request("agent.wait", {"runId": "r"}))
    assert "ids of calls in flight must differ" in peer.error.message
    assert (len(calls), len(begun)) == (1, 1)
