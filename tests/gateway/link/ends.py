"""Two ends of a TCP connection, for tests of what runs over it."""

from __future__ import annotations

import socket
import ssl
import struct
from functools import cache
from pathlib import Path

import trio

from gateway.link import websocket
from gateway.link.bounds import Early
from gateway.link.tcp import Tcp
from gateway.link.websocket import WebSocketLink
from gateway.listen.certificate import make_pair, utc_now
from gateway.listen.tls import server_context

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: gateway.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@cache
def pem() -> tuple[bytes, bytes]:
    """One certificate and key for all tests: making one takes a moment."""
    return make_pair(["gateway.test", "127.0.0.1"], utc_now())


def contexts(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's context that trust each other."""
    (directory / "crt").write_bytes(pem()[0])
    (directory / "key").write_bytes(pem()[1])
    server = server_context()
    server.load_cert_chain(directory / "crt", directory / "key")
    return server, ssl.create_default_context(cafile=str(directory / "crt"))


OPEN: list[socket.socket] = []
"""Closed when the test is over."""


def sockets(*, buffer: int = 0) -> tuple[socket.socket, socket.socket]:
    """A connected pair over loopback; with `buffer`, kernel queues of about that many bytes each."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.socket()
        if buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        theirs.connect(listener.getsockname())
        ours = listener.accept()[0]
    for sock in (ours, theirs):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    OPEN.extend((ours, theirs))
    return ours, theirs


def frame(kind: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """One masked frame, as a client sends it; the key is zero."""
    size = len(payload)
    head = bytes([kind | (0x80 if final else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + b"\0\0\0\0" + payload


class Wire:
    """A client that says bytes and hears frames, over a plain socket; `end` is set when the server has hung up."""

    def __init__(self, sock: socket.socket) -> None:
        self.stream = Tcp(sock)
        self._buffer = b""

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def head(self) -> bytes:
        """The answer to the upgrade, up to its empty line."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self._exactly(1)
        return head

    async def hear(self) -> tuple[int, bytes]:
        """The next frame: kind and payload. Raises EOFError at the end."""
        first, second = await self._exactly(2)
        assert first & 0x80, "in one piece"
        assert not second & 0x80, "a server does not mask"
        size = second
        if size == 126:
            size = int.from_bytes(await self._exactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self._exactly(8), "big")
        return first & 15, await self._exactly(size)

    async def hear_close(self) -> tuple[int, str]:
        """Code and text of the Close frame, which is the next frame and the last thing the server says."""
        kind, payload = await self.hear()
        assert kind == CLOSE
        return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


async def wired(
    nursery: trio.Nursery, *, limit: int = 65536, early: Early | None = None, buffer: int = 0
) -> tuple[WebSocketLink, Wire]:
    """A server's link that writes, and a client that has shaken hands with it by hand."""
    ours, theirs = sockets(buffer=buffer)
    wire = Wire(theirs)
    wire.stream.write(REQUEST)
    stream = Tcp(ours)
    link = await websocket.accept(nursery, stream, limit=limit)
    stream.early = early  # what came behind the request
    link.attach(nursery)
    assert (await wire.head()).startswith(b"HTTP/1.1 101 ")
    return link, wire


async def linked(nursery: trio.Nursery, directory: Path | None = None) -> tuple[WebSocketLink, WebSocketLink]:
    """Both ends as links of ours; over TLS when there is a directory for its files."""
    ours, theirs = sockets()
    mine, your = contexts(directory) if directory else (None, None)
    server = Tcp(ours, mine)
    client = Tcp(theirs, your, server_side=False, server_hostname="gateway.test" if your else None)
    found: list[WebSocketLink] = []

    async def accept() -> None:
        await server.handshake()
        found.append((await websocket.accept(nursery, server, limit=65536)).attach(nursery))

    async with trio.open_nursery() as shaking:
        shaking.start_soon(accept)
        await client.handshake()
        found.append((await websocket.connect(nursery, client, host="gateway.test")).attach(nursery))
    first, second = found
    return (second, first) if first._masked else (first, second)
