"""The outer door: accepting TCP connections and agreeing on TLS; then they are HTTP's.

Owns the accept loop of one listening socket, which belongs to the supervisor and outlives us: it is never shut down.
Each connection is a task of its own, whose trouble is its own. Those that nobody has been let in by are counted: all
of them, so that one leaves for each that comes once they are too many, and those of one address, so that a crowd from
one place keeps nobody else out."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from gateway.auth.origin import parse_address
from gateway.auth.ratelimit import bucket_of
from gateway.link.tcp import NotTls, Tcp
from gateway.listen.accepting import Acceptor
from gateway.protocol.limits import MAX_UNGREETED_PER_DOOR

_log = logging.getLogger("gateway.listen")

TLS_SECONDS = 10.0
"""For the TLS handshake."""
MAX_UNGREETED_PER_ADDRESS = 32
"""WebSockets of one address that have not been let in (OpenClaw 2026.9.6)."""
MAX_OPEN_PER_ADDRESS = 128
"""Connections of one address before anybody has been let in by them, whatever they are for; one more is hung up on."""

Address = tuple[str, int]


class Crowd:
    """How many connections that nobody was let in by each address has, as `bucket_of` counts addresses; for all doors
    together."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __getitem__(self, bucket: str) -> int:
        return self._counts.get(bucket, 0)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def enter(self, bucket: str) -> int:
        """Count one in; how many there are now."""
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        return self._counts[bucket]

    def leave(self, bucket: str) -> None:
        """Count one out."""
        left = self._counts[bucket] - 1
        if left:
            self._counts[bucket] = left
        else:
            del self._counts[bucket]


class Visit:
    """One connection, with both its ends (an IPv4 address is never wrapped in IPv6). `settle` is to be called once
    somebody has been let in by it."""

    def __init__(
        self, stream: Tcp, door: str, local: Address, remote: Address, crowd: Crowd, settled: Callable[[], None]
    ) -> None:
        self.stream = stream
        self.door = door
        self.local = local
        self.remote = remote
        self.early = trio.CancelScope()
        self._settled = settled
        self._crowd = crowd
        self._bucket: str | None = bucket_of(remote[0])
        crowd.enter(self._bucket)

    def count_as(self, bucket: str) -> int:
        """Count it for the address it really comes from; how many of that one there are, this one included."""
        if self._bucket is None:
            return 0
        self._crowd.leave(self._bucket)
        self._bucket = bucket
        return self._crowd.enter(bucket)

    def settle(self) -> None:
        """Count it no more. What comes of it is no longer the door's."""
        bucket, self._bucket = self._bucket, None
        if bucket is not None:
            self._crowd.leave(bucket)
            self._settled()

    @property
    def crowd(self) -> int:
        """How many its address has, this one included; 0 once it is settled."""
        return self._crowd[self._bucket] if self._bucket is not None else 0


class TcpDoor:
    """One listening socket. `context` gives the TLS context of the next connection when the door speaks `tls`; while it
    gives none, whoever comes is hung up on. `front` is the rest of a connection's life, `turn_away` tells one that did
    not speak TLS. `is_proxy`: addresses whose connections are everybody's."""

    def __init__(
        self,
        name: str,
        listener: socket.socket,
        *,
        tls: bool,
        context: Callable[[], ssl.SSLContext | None],
        crowd: Crowd,
        is_proxy: Callable[[str], bool],
        front: Callable[[Visit], Awaitable[None]],
        turn_away: Callable[[Tcp], Awaitable[None]],
    ) -> None:
        self.name = name
        self._tls = tls
        self._context = context
        self._crowd = crowd
        self._is_proxy = is_proxy
        self._front = front
        self._turn_away = turn_away
        self._acceptor = Acceptor(name, listener, MAX_UNGREETED_PER_DOOR)
        self._waiting: dict[Visit, None] = {}  # those that nobody has been let in by, the oldest first

    async def serve(self, conversations: trio.Nursery) -> None:
        """Accept for ever; each connection gets a task in `conversations`, which outlives this loop when we retire."""
        await self._acceptor.serve(conversations, self._attend)

    def retire(self) -> None:
        """End those by whom nobody has been let in."""
        for visit in tuple(self._waiting):
            visit.early.cancel()

    async def _attend(self, sock: socket.socket, settled: Callable[[], None]) -> None:
        ends = ends_of(sock)
        context = self._context()
        if ends is None or (self._tls and context is None) or self._is_too_many(ends[1][0]):
            return

        def leave() -> None:
            self._waiting.pop(visit, None)
            settled()

        visit = Visit(Tcp(sock, context), self.name, *ends, self._crowd, leave)
        self._waiting[visit] = None
        if len(self._waiting) >= MAX_UNGREETED_PER_DOOR:
            self._make_room()
        try:
            with visit.early:
                await self._receive(visit)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            about = {"door": self.name, "address": visit.remote[0], "error": str(error)}
            _log.debug("a connection broke", extra=about)
        finally:
            visit.settle()
            visit.stream.close()

    def _make_room(self) -> None:
        """Hang up on who has waited longest, of the address that has most: whoever fills the door, with a few addresses
        and nothing to say, or with probes without end, fills it for themselves."""
        most = max(visit.crowd for visit in self._waiting)
        oldest = next(visit for visit in self._waiting if visit.crowd == most)
        del self._waiting[oldest]
        oldest.early.cancel()

    def _is_too_many(self, address: str) -> bool:
        return self._crowd[bucket_of(address)] >= MAX_OPEN_PER_ADDRESS and not self._is_proxy(address)

    async def _receive(self, visit: Visit) -> None:
        try:
            with trio.move_on_after(TLS_SECONDS) as shaking:
                await visit.stream.handshake()
        except NotTls:
            return await self._turn_away(visit.stream)
        if not shaking.cancelled_caught:
            await self._front(visit)


def ends_of(sock: socket.socket) -> tuple[Address, Address] | None:
    """Our end and the peer's; None when the peer has already gone."""
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        local, remote = sock.getsockname(), sock.getpeername()
        return (plain(local[0]), local[1]), (plain(remote[0]), remote[1])
    return None


def plain(host: str) -> str:
    """An address as it is compared."""
    ip = parse_address(host)
    return str(ip) if ip is not None else host
