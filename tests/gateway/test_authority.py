"""Who may call what and hear what, by the scopes they were granted: the whole table, through the router and the hub.

The tables are the golden: a new row or event must be entered here by hand. Every cell is tested in both directions, for
an operator of this machine and for a device of the outer door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
import pytest

from gateway.auth.principal import Kind, Principal, Refusal
from gateway.protocol import scopes
from gateway.protocol.calls import ROWS
from gateway.protocol.calls.system import Connect
from gateway.protocol.errors import ErrorShape
from gateway.protocol.events import EVENT_SCOPES
from gateway.protocol.frames import JSON, MSGPACK, Broadcast, Codec, Request
from gateway.router import Router
from gateway.services import Services
from gateway.services.events import Hub

METHODS = """
agent                          -     write  admin  -        -          -
agent.identity.get             read  write  admin  -        -          -
agent.wait                     -     write  admin  -        -          -
agents.list                    read  write  admin  -        -          -
agents.quarantine              -     -      admin  -        -          -
agents.release                 -     -      admin  -        -          -
agents.restart                 -     -      admin  -        -          -
agents.stop                    -     -      admin  -        -          -
audit.list                     -     -      admin  pairing  -          -
channels.status                read  write  admin  -        -          -
chat.abort                     -     write  admin  -        -          -
chat.history                   read  write  admin  -        -          -
chat.send                      -     write  admin  -        -          -
chat.startup                   read  write  admin  -        -          -
config.get                     read  write  admin  -        -          -
cron.add                       -     -      admin  -        -          -
cron.get                       read  write  admin  -        -          -
cron.list                      read  write  admin  -        -          -
cron.remove                    -     -      admin  -        -          -
cron.run                       -     -      admin  -        -          -
cron.runs                      read  write  admin  -        -          -
cron.status                    read  write  admin  -        -          -
cron.update                    -     -      admin  -        -          -
database.backup                -     -      admin  -        -          -
database.check                 -     -      admin  -        -          -
device.pair.approve            -     -      admin  pairing  -          -
device.pair.list               -     -      admin  pairing  -          -
device.pair.reject             -     -      admin  pairing  -          -
device.pair.remove             -     -      admin  pairing  -          -
device.pair.rename             -     -      admin  pairing  -          -
device.pair.setupCode          -     -      admin  -        -          -
device.pair.setupStatus        -     -      admin  -        -          -
device.scopes.requestUpgrade   read  write  admin  pairing  -          -
device.scopes.waitUpgrade      read  write  admin  pairing  -          -
device.token.revoke            -     -      admin  pairing  -          -
device.token.rotate            -     -      admin  pairing  -          -
gateway.identity.get           read  write  admin  -        -          -
health                         read  write  admin  -        -          -
last-heartbeat                 read  write  admin  -        -          -
logs.tail                      read  write  admin  -        -          -
mailbox.drop                   -     -      admin  -        -          -
mailbox.list                   read  write  admin  -        -          -
mailbox.retry                  -     -      admin  -        -          -
models.list                    read  write  admin  -        -          -
node.list                      read  write  admin  -        -          -
refusals.list                  read  write  admin  -        -          -
runs.list                      read  write  admin  -        -          -
sessions.abort                 -     write  admin  -        -          -
sessions.create                -     write  admin  -        -          -
sessions.delete                -     write  admin  -        -          -
sessions.describe              read  write  admin  -        -          -
sessions.list                  read  write  admin  -        -          -
sessions.messages.subscribe    read  write  admin  -        -          -
sessions.messages.unsubscribe  read  write  admin  -        -          -
sessions.patch                 -     write  admin  -        -          -
sessions.preview               read  write  admin  -        -          -
sessions.reset                 -     -      admin  -        -          -
sessions.resolve               read  write  admin  -        -          -
sessions.send                  -     write  admin  -        -          -
sessions.subscribe             read  write  admin  -        -          -
sessions.unsubscribe           read  write  admin  -        -          -
status                         read  write  admin  -        -          -
system-presence                read  write  admin  -        -          -
system.processes               read  write  admin  -        -          -
tools.catalog                  read  write  admin  -        -          -
tools.invoke                   read  write  admin  -        -          -
wake                           -     write  admin  -        -          -
worker.effect                  -     -      -      -        -          -
worker.emit                    -     -      -      -        -          -
worker.finish                  -     -      -      -        -          -
worker.next                    -     -      -      -        -          -
worker.state                   -     -      -      -        -          -
worker.steering                -     -      -      -        -          -
"""
# Calls whose words decide.
WORDS = """
agent            {"message": "hello", "idempotencyKey": "k"}       -     write  admin  -        -          -
agent            {"message": "/new", "idempotencyKey": "k"}        -     -      admin  -        -          -
sessions.create  {"label": "a"}                                    -     write  admin  -        -          -
sessions.create  {"incognito": true}                               -     -      admin  -        -          -
sessions.delete  {"key": "main"}                                   -     -      admin  -        -          -
sessions.delete  {"key": "main", "archivedOnly": true}             -     write  admin  -        -          -
sessions.patch   {"key": "main", "label": "a"}                     -     write  admin  -        -          -
sessions.patch   {"key": "main", "execSecurity": "full"}           -     -      admin  -        -          -
"""
EVENTS = """
agent                          read  write  admin  -        -          -
chat                           read  write  admin  -        -          -
cron                           read  write  admin  -        -          -
device.pair.changed            -     -      admin  pairing  -          -
device.pair.requested          -     -      admin  pairing  -          -
device.pair.resolved           -     -      admin  pairing  -          -
health                         read  write  admin  -        -          -
notice                         read  write  admin  -        -          -
presence                       read  write  admin  -        -          -
process                        read  write  admin  -        -          -
run.deadline                   read  write  admin  -        -          -
session.message                read  write  admin  -        -          -
session.tool                   read  write  admin  -        -          -
sessions.changed               read  write  admin  -        -          -
shutdown                       read  write  admin  pairing  approvals  none
tick                           read  write  admin  pairing  approvals  none
worker.abort                   -     -      -      -        -          -
worker.steer                   -     -      -      -        -          -
"""
ROLES = {
    "read": frozenset({scopes.READ}),
    "write": frozenset({scopes.WRITE}),
    "admin": frozenset({scopes.ADMIN}),
    "pairing": frozenset({scopes.PAIRING}),
    "approvals": frozenset({scopes.APPROVALS}),
    "none": frozenset[str](),
}


def cells(table: str) -> list[tuple[str, str, bool]]:
    """(what, role, allowed) of every cell."""
    rows = [line.rsplit(maxsplit=len(ROLES)) for line in table.strip().splitlines()]
    return [
        (what.strip(), role, word == role)
        for what, *words in rows
        for role, word in zip(ROLES, words, strict=True)
        if word in (role, "-")
    ]


def principal(role: str, codec: Codec) -> Principal:
    """Somebody with the scopes of a role: a device when JSON is spoken, else somebody of this machine."""
    if codec is JSON:
        return Principal(
            Kind.DEVICE, ROLES[role], "outer", -1, -1, 0, device="d" * 64, address="192.0.2.7", client="cli"
        )
    return Principal(Kind.OPERATOR, ROLES[role], "operator", 1000, 1000, 4242)


class Peer:
    """A connection that keeps what it is told."""

    def __init__(self, role: str, codec: Codec) -> None:
        self.id, self.codec, self.principal = "c1", codec, principal(role, codec)
        self.in_flight, self.connect = set[str](), Connect()
        self.answers: list[object] = []
        self.heard: list[str] = []

    def respond(self, id: str, payload: object) -> None:
        self.answers.append(payload)

    def respond_error(self, id: str, error: ErrorShape) -> None:
        self.answers.append(error)

    def post_event(self, event: str, payload: object) -> None:
        self.heard.append(event)

    def deliver(self, broadcast: Broadcast) -> None:
        self.heard.append(broadcast.name)

    def start(self, run: Callable[[], Awaitable[None]], *, patient: bool) -> None:
        raise AssertionError("every handler here answers at once")


def ask(peer: Peer, method: str, params: Any) -> tuple[object, list[Refusal], list[str]]:
    """The answer of a router whose handlers say "let through", what it noted, and what it advertises."""
    refusals: list[Refusal] = []
    handlers = {name: lambda call: "let through" for name in ROWS}
    router = Router(handlers, cast("Services", None), refused=refusals.append)
    router.dispatch(cast("Any", peer), Request("1", method, msgspec.Raw(peer.codec.encode_value(params))))
    (answer,) = peer.answers
    return answer, refusals, router.methods_for(peer.principal)


def check(answer: object, refusals: list[Refusal], method: str, *, allowed: bool) -> None:
    if allowed:
        assert refusals == []
        return
    assert isinstance(answer, ErrorShape)
    assert (answer.code, (answer.details or {})["code"]) == ("FORBIDDEN", "MISSING_SCOPE")
    assert answer.message.startswith("missing scope: ")
    assert [note.method for note in refusals] == [method]


def test_the_tables_are_whole():
    assert {what for what, _, _ in cells(METHODS)} == ROWS.keys() - {"connect"}
    assert {what for what, _, _ in cells(EVENTS)} == EVENT_SCOPES.keys()
    for table in (METHODS, WORDS, EVENTS):
        assert len(cells(table)) == len(ROLES) * len(table.strip().splitlines())


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["operator", "device"])
@pytest.mark.parametrize(("method", "role", "allowed"), cells(METHODS))
def test_a_method_is_for_these_and_for_nobody_else(method: str, role: str, allowed: bool, codec: Codec):
    peer = Peer(role, codec)
    answer, refusals, advertised = ask(peer, method, None)
    check(answer, refusals, method, allowed=allowed)
    if allowed:  # it got past the scope: what is wrong now are the parameters (null instead of a map)
        assert isinstance(answer, ErrorShape)
        assert (answer.code, answer.message.split(":")[0]) == ("INVALID_REQUEST", f"invalid {method} params")
    assert (method in advertised) == (allowed and not ROWS[method].hidden)


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["operator", "device"])
@pytest.mark.parametrize(("call", "role", "allowed"), cells(WORDS))
def test_words_are_for_these_and_for_nobody_else(call: str, role: str, allowed: bool, codec: Codec):
    method, words = call.split(maxsplit=1)
    answer, refusals, _ = ask(Peer(role, codec), method, msgspec.json.decode(words))
    check(answer, refusals, method, allowed=allowed)
    assert (answer == "let through") == allowed


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["operator", "device"])
@pytest.mark.parametrize(("event", "role", "allowed"), cells(EVENTS))
def test_an_event_is_for_these_and_for_nobody_else(event: str, role: str, allowed: bool, codec: Codec):
    hub, peer = Hub(), Peer(role, codec)
    hub.join(peer, events=True)
    hub.hear_sessions(peer.id, True)
    told = hub.publish(event, {}, session="agent:main:main")
    assert peer.heard == ([event] if allowed else [])
    assert told == len(peer.heard)
