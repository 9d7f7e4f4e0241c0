"""A house with small handlers of its own, and peers who talk to it over socket pairs. Real router, link and
connection."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import msgspec
import trio

from gateway.auth.decide import FULL
from gateway.auth.facts import PeerFacts
from gateway.auth.principal import Kind, NeedsTicket, Principal, Refusal, Verdict
from gateway.connection import Connection
from gateway.greet.unix import UnixGreeting
from gateway.hello import Greeter
from gateway.house import House
from gateway.link.unix import UnixLink
from gateway.protocol import scopes
from gateway.protocol.frames import MSGPACK, pack
from gateway.protocol.limits import MAX_HELLO_BYTES
from gateway.registry import Registry
from gateway.router import Handler, Router
from gateway.services import Services
from gateway.services.events import Hub, Member
from supervisor.messages import Claimed

ME = os.getpid()


def operator(uid: int = 0, granted: frozenset[str] = FULL) -> Principal:
    return Principal(Kind.OPERATOR, granted, "operator", uid, uid, ME)


def tool(spawn: str = "s1", agent: str = "main") -> Principal:
    return Principal(Kind.TOOL, frozenset({scopes.SESSION}), "agents", 0, 0, ME, 5, agent, f"agent:{agent}:main", spawn)


def worker(spawn: str = "s1", agent: str = "main") -> Principal:
    granted = frozenset({scopes.WORKER, scopes.SESSION})
    return Principal(Kind.WORKER, granted, "agents", 0, 0, ME, 5, agent, f"agent:{agent}:main", spawn)


def ticketed(spawn: str = "s1", agent: str = "main") -> NeedsTicket:
    return NeedsTicket(worker(spawn, agent), tool(spawn, agent))


def encode_request(id: str, method: str, params: object = None) -> bytes:
    """One request as it travels."""
    return pack(msgspec.msgpack.encode({"type": "req", "id": id, "method": method, "params": params or {}}))


class RawPeer:
    """The client's end of a connection, byte by byte."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = trio.socket.from_stdlib_socket(sock)
        self._buffer = b""

    async def send(self, data: bytes) -> None:
        while data:
            data = data[await self.sock.send(data) :]

    async def ask(self, id: str, method: str, params: object = None) -> None:
        await self.send(encode_request(id, method, params))

    async def hear(self) -> dict[str, Any] | None:
        """The next frame, or None at the end of the connection."""
        while len(self._buffer) < 4 or len(self._buffer) < 4 + int.from_bytes(self._buffer[:4], "big"):
            try:
                with trio.fail_after(60):
                    data = await self.sock.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._buffer += data
        size = int.from_bytes(self._buffer[:4], "big")
        body, self._buffer = self._buffer[4 : 4 + size], self._buffer[4 + size :]
        return cast("dict[str, Any]", msgspec.msgpack.decode(body))

    async def hear_end(self) -> str | None:
        """Read to the end; the reason the gateway gave."""
        reason = None
        while (frame := await self.hear()) is not None:
            if frame.get("event") == "closed":
                reason = frame["payload"]["reason"]
        return reason

    async def greet(self, **params: object) -> dict[str, Any]:
        await self.ask("hello", "connect", params)
        answer = await self.hear()
        assert answer is not None
        return answer

    def close(self) -> None:
        self.sock.close()


@dataclass
class Place:
    """A house, what it heard, and the connections made in it."""

    nursery: trio.Nursery
    handlers: Mapping[str, Handler]
    tickets: dict[str, str] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    came: list[Connection] = field(default_factory=list)
    went: list[Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.peers: list[RawPeer] = []
        self.hub = Hub()
        self.registry = Registry()
        router = Router(self.handlers, cast("Services", None), refused=self.refusals.append)
        self.house = House(
            router, Greeter("0.1.0", router.methods_for), self.hub, self.registry, self.claim,
            self._joined, self._left, self.refusals.append, lambda: 7,
        )  # fmt: skip

    def _joined(self, member: Member) -> None:
        assert isinstance(member, Connection)
        self.came.append(member)

    def _left(self, member: Member) -> None:
        assert isinstance(member, Connection)
        self.went.append(member)

    async def claim(self, spawn: str, ticket: str) -> Claimed:
        await trio.lowlevel.checkpoint()
        return Claimed(1, self.tickets.pop(spawn, None) == ticket, "not the one it had")

    def connection(self, sock: socket.socket, facts: PeerFacts, verdict: Verdict) -> Connection:
        """The gateway's end of a socket, as the operator's door makes it."""
        opening = partial(UnixLink, sock, limit=MAX_HELLO_BYTES, sender=facts.pid, gather=True)
        return Connection(opening, MSGPACK, UnixGreeting(facts, verdict, self.house), "operator", self.house)

    def connect(self, verdict: Verdict, *, pid: int = ME) -> tuple[RawPeer, Connection]:
        """A peer about whom `verdict` was reached at the accept."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        theirs.setblocking(False)
        connection = self.connection(ours, PeerFacts(pid, 0, 0), verdict)
        self.nursery.start_soon(connection.serve, lambda: None)
        self.peers.append(RawPeer(theirs))
        return self.peers[-1], connection

    async def greeted(self, verdict: Verdict, **params: object) -> tuple[RawPeer, Connection]:
        """A peer that has been let in."""
        peer, connection = self.connect(verdict)
        answer = await peer.greet(**params)
        assert answer["ok"], answer
        return peer, connection


@asynccontextmanager
async def open_place(handlers: Mapping[str, Handler]) -> AsyncIterator[Place]:
    """A place to test in; every connection is cut off at the end."""
    async with trio.open_nursery() as nursery:
        place = Place(nursery, handlers)
        try:
            yield place
        finally:
            nursery.cancel_scope.cancel()
            for peer in place.peers:
                peer.close()
