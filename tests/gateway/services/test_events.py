"""Who hears what: by scope, by session, and numbered for each connection."""

from __future__ import annotations

import pytest

from gateway.auth.principal import Principal
from gateway.protocol import scopes
from gateway.protocol.calls.system import Connect
from gateway.protocol.events import EVENT_SCOPES
from gateway.protocol.frames import Broadcast, Event, decode_incoming
from gateway.services.events import Hub
from tests.support.doors import operator, tool, worker


class Listener:
    """A connection that keeps what it is told."""

    def __init__(self, id: str, principal: Principal, caps: tuple[str, ...] = ()) -> None:
        self.id, self.principal, self.heard = id, principal, list[str]()
        self.connect = Connect(caps=caps)

    def deliver(self, broadcast: Broadcast) -> None:
        self.heard.append(broadcast.name)

    def post_event(self, event: str, payload: object) -> None:
        self.heard.append(event)


@pytest.mark.parametrize("event", EVENT_SCOPES)
def test_an_event_reaches_those_who_have_its_scope(event: str):
    hub = Hub()
    everybody = [
        Listener("all", operator()), Listener("reader", operator(granted=frozenset({scopes.READ}))),
        Listener("nothing", operator(granted=frozenset())), Listener("tool", tool()), Listener("worker", worker()),
    ]  # fmt: skip
    for listener in everybody:
        hub.join(listener, events=True)
    told = hub.publish(event, {})
    assert [one.id for one in everybody if one.heard] == [
        one.id for one in everybody if one.principal.may(EVENT_SCOPES[event])
    ]
    assert told == sum(len(one.heard) for one in everybody)


def test_who_did_not_ask_for_events_hears_none_but_counts():
    hub, quiet = Hub(), Listener("quiet", operator())
    hub.join(quiet, events=False)
    assert hub.publish("tick", {}) == 0
    assert (hub.connections, hub.listeners) == (1, 0)
    hub.subscribe(quiet)
    assert hub.publish("tick", {}) == 1
    hub.unsubscribe(quiet)
    assert hub.publish("tick", {}) == 0
    hub.leave(quiet)
    assert hub.connections == 0


def test_somebody_bound_to_a_session_hears_only_of_that_one():
    hub, mine, other = Hub(), Listener("mine", tool()), Listener("other", tool(agent="scout"))
    hub.join(mine, events=True)
    hub.join(other, events=True)
    hub.publish("tick", {}, session="agent:main:main")
    assert (mine.heard, other.heard) == (["tick"], [])


def test_an_event_without_a_scope_is_told_to_nobody(caplog):
    hub, listener = Hub(), Listener("all", operator())
    hub.join(listener, events=True)
    assert hub.publish("invented", {}) == 0
    assert listener.heard == []
    assert "without a scope" in caplog.text


def test_a_listener_that_leaves_while_it_is_told_disturbs_nobody():
    hub = Hub()

    class Leaver(Listener):
        def deliver(self, broadcast: Broadcast) -> None:
            hub.leave(self)

    last = Listener("last", operator())
    hub.join(Leaver("leaver", operator()), events=True)
    hub.join(last, events=True)
    hub.publish("tick", {})
    assert last.heard == ["tick"]


@pytest.mark.parametrize("seq", [1, 127, 128, 65_536, 2**40])
def test_a_payload_encoded_once_arrives_with_each_connections_number(seq: int):
    broadcast = Broadcast("tick", {"ts": 5})
    assert decode_incoming(broadcast.body(seq)) == Event("tick", {"ts": 5}, seq)
