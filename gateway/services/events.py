"""The hub: who is connected, and telling them what happens.

Owns the set of greeted connections and who of them hears broadcasts. Every event's payload is encoded once, whatever
the number of listeners; each connection numbers its own broadcasts (`seq`), so a gap can be seen. Delivery never waits:
a connection that does not keep up is ended as a slow consumer by its own bound, nobody else is held up."""

from __future__ import annotations

import logging
from typing import Protocol

from gateway.auth.principal import Principal
from gateway.protocol.events import EVENT_SCOPES
from gateway.protocol.frames import Broadcast

_log = logging.getLogger("gateway.events")


class Member(Protocol):
    """What the hub needs of a connection."""

    @property
    def id(self) -> str:
        """Unique within this gateway's life."""
        ...

    @property
    def principal(self) -> Principal:
        """Who it is."""
        ...

    def deliver(self, broadcast: Broadcast) -> None:
        """Queue a broadcast with the connection's next `seq`. Never waits, never raises."""
        ...

    def post_event(self, event: str, payload: object) -> None:
        """Queue an event meant for this connection alone; it has no `seq`. Never waits, never raises."""
        ...


class Hub:
    """Greeted connections and their listeners."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._listeners: dict[str, Member] = {}

    @property
    def connections(self) -> int:
        """How many connections have been greeted and are still here."""
        return len(self._members)

    @property
    def listeners(self) -> int:
        """How many of them hear broadcasts."""
        return len(self._listeners)

    def join(self, member: Member, *, events: bool) -> None:
        """A connection was greeted; `events` whether it wants broadcasts."""
        self._members[member.id] = member
        if events:
            self.subscribe(member)

    def subscribe(self, member: Member) -> None:
        """From now on this connection hears every broadcast its scopes allow."""
        self._listeners[member.id] = member

    def unsubscribe(self, member: Member) -> None:
        """It hears no more broadcasts; events of its own still reach it."""
        self._listeners.pop(member.id, None)

    def leave(self, member: Member) -> None:
        """The connection is over."""
        self._members.pop(member.id, None)
        self._listeners.pop(member.id, None)

    def publish(self, event: str, payload: object, *, session: str | None = None) -> int:
        """Tell everybody who may hear it; returns how many were told. `session` is the session the event is about: a
        worker or a tool hears only of its own. An event that `EVENT_SCOPES` does not name is told to nobody and
        logged."""
        scope = EVENT_SCOPES.get(event)
        if scope is None:
            _log.error("event without a scope was dropped", extra={"event": event})
            return 0
        if not self._listeners:
            return 0
        broadcast = Broadcast(event, payload)
        told = 0
        # A copy: a delivery may end a slow connection, which then leaves.
        for member in tuple(self._listeners.values()):
            principal = member.principal
            if principal.may(scope) and not (session and principal.bound and principal.session != session):
                member.deliver(broadcast)
                told += 1
        return told
