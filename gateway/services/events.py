"""The hub: who is connected, and telling them what happens.

Owns the set of greeted connections and who of them hears what. A Unix peer that asked for events hears all that its
scopes allow; one that did not hears only of the sessions it subscribes to. A peer of the outer door hears what
everybody hears, and of sessions what it subscribes to; tools of a run only if it says that it shows them and has
started or awaits that run (OpenClaw 2026.9.6). Every event's payload is encoded once, whatever the number of listeners;
each connection numbers its own broadcasts (`seq`), so a gap can be seen. Delivery never waits: a connection that does
not keep up is ended as a slow consumer by its own bound, nobody else is held up."""

from __future__ import annotations

import logging
from typing import Protocol

import msgspec

from gateway.auth.principal import Principal
from gateway.protocol.calls.system import Connect
from gateway.protocol.events import EVENT_SCOPES
from gateway.protocol.frames import Broadcast

_log = logging.getLogger("gateway.events")

MAX_SUBSCRIPTIONS = 256
"""Sessions one connection may subscribe to, and runs whose tools it may follow."""
TOOL_EVENTS = "tool-events"
SCOPED_EVENTS = "session-scoped-events"
"""What a client says in `connect.caps`: that it shows tools; that it wants runs of the sessions it subscribed to
alone."""


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

    @property
    def connect(self) -> Connect:
        """What it said of itself."""
        ...

    def deliver(self, broadcast: Broadcast) -> None:
        """Queue a broadcast with the connection's next `seq`. Never waits, never raises."""
        ...

    def post_event(self, event: str, payload: object) -> None:
        """Queue an event meant for this connection alone; it has no `seq`. Never waits, never raises."""
        ...


class _Ear(msgspec.Struct, eq=False):
    """What one connection hears. `wide`: everything; `plain`: what is not about one session, and, unless `scoped`, the
    runs of every session; `tools`: it shows the tools of the runs it follows."""

    member: Member
    wide: bool = False
    plain: bool = False
    scoped: bool = False
    tools: bool = False
    sessions: bool = False
    keys: set[str] = msgspec.field(default_factory=set)
    runs: set[str] = msgspec.field(default_factory=set)

    @property
    def listens(self) -> bool:
        return self.wide or self.plain or self.sessions or bool(self.keys)

    def hears(self, event: str, session: str | None, run: str | None) -> bool:
        """Whether an event is for this connection, its scopes aside. `run`: the run of a tool event."""
        if self.wide:
            return run is None or event != "session.tool"
        subscribed = session in self.keys
        match event:
            case "agent" if run is not None:
                return self.tools and run in self.runs
            case "session.tool":
                return (self.sessions or subscribed) and not (self.tools and run in self.runs)
            case "agent" | "chat":
                return subscribed or (self.plain and not self.scoped)
            case "sessions.changed" | "session.message":
                return self.sessions or subscribed
            case _:
                return self.plain


class Hub:
    """Greeted connections and their listeners. `versions` counts how often presence and health were told."""

    def __init__(self) -> None:
        self._members: dict[str, _Ear] = {}
        self._listeners: dict[str, _Ear] = {}
        self._followers: dict[str, set[str]] = {}
        self.versions = {"presence": 0, "health": 0}

    @property
    def connections(self) -> int:
        """How many connections have been greeted and are still here."""
        return len(self._members)

    @property
    def listeners(self) -> int:
        """How many of them hear broadcasts."""
        return len(self._listeners)

    # --- who is here, and what they want to hear ----------------------------------------------------------------------

    def join(self, member: Member, *, events: bool) -> None:
        """A connection was greeted; `events` whether it wants broadcasts. One of the outer door always does."""
        caps, outside = member.connect.caps, member.principal.outside
        ear = _Ear(member, events and not outside, outside, SCOPED_EVENTS in caps, TOOL_EVENTS in caps)
        self._members[member.id] = ear
        self._sort(ear)

    def subscribe(self, member: Member) -> None:
        """From now on this connection hears every broadcast its scopes allow."""
        self._widen(member, True)

    def unsubscribe(self, member: Member) -> None:
        """It hears no more of what it did not subscribe to by name; events of its own still reach it."""
        self._widen(member, False)

    def _widen(self, member: Member, wide: bool) -> None:
        if ear := self._members.get(member.id):
            ear.wide = wide
            self._sort(ear)

    def hear_sessions(self, connection: str, on: bool) -> None:
        """Whether a connection wants to hear of every session."""
        if ear := self._members.get(connection):
            ear.sessions = on
            self._sort(ear)

    def hear_session(self, connection: str, key: str, on: bool) -> bool:
        """Whether a connection wants to hear of one session; False when it hears of too many already."""
        ear = self._members.get(connection)
        if ear is None or not on:
            if ear is not None:
                ear.keys.discard(key)
                self._sort(ear)
            return True
        if len(ear.keys) >= MAX_SUBSCRIPTIONS and key not in ear.keys:
            return False
        ear.keys.add(key)
        self._sort(ear)
        return True

    def follow(self, connection: str, run: str) -> None:
        """A connection has started a run, or awaits it: if it shows tools, it hears of that run's until its end."""
        ear = self._members.get(connection)
        if ear is not None and ear.tools and len(ear.runs) < MAX_SUBSCRIPTIONS:
            ear.runs.add(run)
            self._followers.setdefault(run, set()).add(connection)

    def forget_run(self, run: str) -> None:
        """The run is over."""
        for connection in self._followers.pop(run, ()):
            self._members[connection].runs.discard(run)

    def leave(self, member: Member) -> None:
        """The connection is over."""
        ear = self._members.pop(member.id, None)
        self._listeners.pop(member.id, None)
        for run in ear.runs if ear else ():
            followers = self._followers[run]
            followers.discard(member.id)
            if not followers:
                del self._followers[run]

    def _sort(self, ear: _Ear) -> None:
        if ear.listens:
            self._listeners[ear.member.id] = ear
        else:
            self._listeners.pop(ear.member.id, None)

    # --- telling ------------------------------------------------------------------------------------------------------

    def publish(self, event: str, payload: object, *, session: str | None = None, run: str | None = None) -> int:
        """Tell everybody who may and wants to hear it; returns how many were told. `session` is the session the event
        is about: a worker or a tool hears only of its own. `run`: the event is about a tool of this run. An event that
        `EVENT_SCOPES` does not name is told to nobody and logged."""
        scope = EVENT_SCOPES.get(event)
        if scope is None:
            _log.error("event without a scope was dropped", extra={"event": event})
            return 0
        versions = None
        if event in self.versions:
            self.versions[event] += 1
            versions = dict(self.versions)
        if not self._listeners:
            return 0
        broadcast = Broadcast(event, payload, versions)
        told = 0
        # A copy: a delivery may end a slow connection, which then leaves.
        for ear in tuple(self._listeners.values()):
            principal = ear.member.principal
            if not principal.may(scope) or (session and principal.bound and principal.session != session):
                continue
            if ear.hears(event, session, run):
                ear.member.deliver(broadcast)
                told += 1
        return told
