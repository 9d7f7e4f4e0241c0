"""Who hears what: by scope, by session, and numbered for each connection."""

from __future__ import annotations

import pytest

from gateway.auth.principal import Kind, Principal
from gateway.protocol import scopes
from gateway.protocol.calls.system import Connect
from gateway.protocol.events import EVENT_SCOPES
from gateway.protocol.frames import Broadcast, Event, decode_incoming
from gateway.services.events import MAX_SUBSCRIPTIONS, Hub
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


def remote(granted: frozenset[str] = frozenset({scopes.READ})) -> Principal:
    return Principal(Kind.DEVICE, granted, "outer", -1, -1, 0, device="d", address="192.0.2.7", client="openclaw-tui")


KEY, OTHER, RUN = "agent:main:main", "agent:main:other", "r1"
# Who is told of an event about KEY (its tool events: of RUN): connections as `listening` makes them.
AUDIENCE = """
                  tick  agent  chat  agent-tool  session.tool  session.message  sessions.changed
quiet             -     -      -     -           -             -                -
wide              x     x      x     x           -             x                x
remote            x     x      x     -           -             -                -
scoped            x     -      -     -           -             -                -
quiet+sessions    -     -      -     -           x             x                x
quiet+key         -     x      x     -           x             x                x
quiet+other       -     -      -     -           -             -                -
remote+sessions   x     x      x     -           x             x                x
remote+key        x     x      x     -           x             x                x
scoped+key        x     x      x     -           x             x                x
scoped+other      x     -      -     -           -             -                -
tools             x     x      x     -           -             -                -
tools+run         x     x      x     x           -             -                -
tools+run+key     x     x      x     x           -             x                x
remote+run        x     x      x     -           -             -                -
remote+run+key    x     x      x     -           x             x                x
"""
CAPS = {"scoped": ("session-scoped-events",), "tools": ("tool-events",)}


def listening(hub: Hub, how: str) -> Listener:
    """A connection: what it is, and what it has subscribed to."""
    kind, *wishes = how.split("+")
    outside = kind in ("remote", *CAPS)
    peer = Listener("one", remote() if outside else operator(), CAPS.get(kind, ()))
    hub.join(peer, events=kind == "wide")
    for wish in wishes:
        match wish:
            case "sessions":
                hub.hear_sessions(peer.id, True)
            case "run":
                hub.follow(peer.id, RUN)
            case _:
                assert hub.hear_session(peer.id, KEY if wish == "key" else OTHER, True)
    return peer


def audience() -> list[tuple[str, str, bool]]:
    head, *lines = AUDIENCE.strip("\n").splitlines()
    return [
        (how, event, cell == "x")
        for how, *row in map(str.split, lines)
        for event, cell in zip(head.split(), row, strict=True)
    ]


@pytest.mark.parametrize(("how", "event", "hears"), audience())
def test_who_is_told_of_what(how: str, event: str, hears: bool):
    hub = Hub()
    peer = listening(hub, how)
    run = RUN if event in ("agent-tool", "session.tool") else None
    hub.publish(event.removesuffix("-tool"), {}, session=KEY if event != "tick" else None, run=run)
    assert bool(peer.heard) == hears


def test_what_was_subscribed_to_ends_with_unsubscribing_the_run_and_the_connection():
    hub = Hub()
    peer = listening(hub, "tools+run+key+sessions")
    hub.hear_session(peer.id, KEY, False)
    hub.hear_sessions(peer.id, False)
    hub.publish("session.message", {}, session=KEY)
    hub.forget_run(RUN)
    hub.publish("agent", {}, session=KEY, run=RUN)
    assert peer.heard == []
    hub.follow(peer.id, RUN)
    hub.leave(peer)
    hub.forget_run(RUN)
    hub.hear_sessions(peer.id, True)
    hub.follow(peer.id, RUN)
    assert (hub.publish("tick", {}), hub.listeners, hub.connections) == (0, 0, 0)


def test_a_connection_subscribes_to_so_many_sessions_and_no_more():
    hub = Hub()
    peer = listening(hub, "quiet")
    assert all(hub.hear_session(peer.id, f"agent:main:{number}", True) for number in range(MAX_SUBSCRIPTIONS))
    assert not hub.hear_session(peer.id, KEY, True)
    assert hub.hear_session(peer.id, "agent:main:0", True)
    assert hub.hear_session(peer.id, "agent:main:0", False)
    assert hub.hear_session(peer.id, KEY, True)


def test_presence_and_health_say_how_often_they_were_told():
    hub, versions = Hub(), list[object]()

    class Reader(Listener):
        def deliver(self, broadcast: Broadcast) -> None:
            versions.append(broadcast.state_version)

    hub.publish("presence", {})  # nobody hears it, and it counts
    hub.join(Reader("one", operator()), events=True)
    for event in ("presence", "tick", "health"):
        hub.publish(event, {})
    assert versions == [{"presence": 2, "health": 0}, None, {"presence": 2, "health": 1}]


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
