"""An outer door of the tests over real TCP, TLS and WebSocket: real greetings, services and router behind it.

Owns the listener, the certificate and its address. `Front` (tests/gateway/greet/front.py) is what is behind it."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.connection import Connection
from gateway.greet.desk import Arrival
from gateway.greet.outer import OuterGreeting
from gateway.link.base import LinkLost
from gateway.link.tcp import Tcp
from gateway.link.websocket import accept
from gateway.protocol.frames import JSON
from gateway.protocol.limits import MAX_HELLO_BYTES
from tests.gateway.greet.front import Front


def make_certificate(directory: Path, name: str = "gateway") -> Path:
    """A self-signed certificate for localhost and 127.0.0.1, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.pem"
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path


def fingerprint_of(pem: Path) -> str:
    """As people compare it."""
    return f"sha256:{x509.load_pem_x509_certificate(pem.read_bytes()).fingerprint(hashes.SHA256()).hex()}"


class OuterDoor:
    """Listens on 127.0.0.1. `connections` are all that were made, `live` those that last; `certificate` may be
    exchanged."""

    def __init__(self, front: Front, certificate: Path | None = None) -> None:
        self.front = front
        self.certificate = certificate
        self.connections: list[Connection] = []
        self.live: list[Connection] = []
        front.box.services.pairing.on_invalidated(self._invalidate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'wss' if self.certificate else 'ws'}://127.0.0.1:{self.port}"

    async def serve(self) -> None:
        """Let everybody try."""
        self._listener.setblocking(False)
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(self._listener)
                nursery.start_soon(self._one, self._listener.accept()[0])

    def close(self) -> None:
        self._listener.close()

    def _invalidate(self, device: str, role: str | None, why: str) -> None:
        for connection in tuple(self.live):
            if connection.principal.device == device:
                connection.bar(f"client invalidated: {why}")

    async def _one(self, sock: socket.socket) -> None:
        context: ssl.SSLContext | None = None
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(self.certificate)
        stream = Tcp(sock, context)
        local, remote = sock.getsockname(), sock.getpeername()
        desk = self.front.desk
        try:
            async with trio.open_nursery() as nursery:
                try:
                    await stream.handshake()
                    link = await accept(nursery, stream, limit=MAX_HELLO_BYTES)
                except (trio.BrokenResourceError, LinkLost):
                    return
                first = await desk.look(local, remote)
                greeting = OuterGreeting(Arrival("outer:0", local, remote, first, ()), desk)
                connection = Connection(link.attach, JSON, greeting, "outer:0", self.front.house)
                self.connections.append(connection)
                await connection.serve(lambda: self.live.append(connection))
                if connection in self.live:
                    self.live.remove(connection)
                nursery.cancel_scope.cancel()
        finally:
            stream.close()


@asynccontextmanager
async def open_outer_door(front: Front, certificate: Path | None = None) -> AsyncIterator[OuterDoor]:
    """A door that serves for as long as the block lasts."""
    door = OuterDoor(front, certificate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.serve)
        try:
            yield door
        finally:
            nursery.cancel_scope.cancel()
            door.close()


@asynccontextmanager
async def open_listener(answer: bytes, *, hold: bool = False) -> AsyncIterator[int]:
    """Something else that listens on 127.0.0.1: it answers whoever speaks with these bytes and hangs up, or (`hold`)
    says nothing more. Its port."""

    async def one(stream: Any) -> None:
        await stream.receive_some()
        if answer:
            await stream.send_all(answer)
        if hold:
            await trio.sleep_forever()
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, one, 0)
        yield int(listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()
