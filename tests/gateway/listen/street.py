"""A street with an outer door: a real listener, the real front, and visitors who say bytes. An upgraded connection is
an echo."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import trio

from gateway.auth.origin import names_from
from gateway.auth.proxies import Headers, networks_from
from gateway.link import websocket
from gateway.link.base import LinkLost
from gateway.link.tcp import Tcp
from gateway.listen.http import Front, Rules, Standing, say_not_tls
from gateway.listen.tcp import Crowd, TcpDoor, Visit
from tests.gateway.link.ends import contexts


class Street:
    """The door, what its front is told, and who came through."""

    def __init__(self, nursery: trio.Nursery, *, tls: Path | None = None, host: str = "127.0.0.1") -> None:
        self.nursery = nursery
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, 0), family=family, backlog=512)
        self.port = int(self.listener.getsockname()[1])
        self.names = names_from([host], ["gateway.test"])
        self.proxies = networks_from([])
        self.locked: dict[str, int] = {}
        self.standing = Standing.STARTED
        self.greets = True
        self.came: list[tuple[Visit, Headers]] = []
        self.crowd = Crowd()
        rules = Rules(lambda: self.names, lambda: self.proxies, lambda who: self.locked.get(who, 0), self._standing)
        self.front = Front(rules, self._upgrade)
        self.context: ssl.SSLContext | None = None
        self.client_context: ssl.SSLContext | None = None
        if tls is not None:
            self.context, self.client_context = contexts(tls)
        self.door = TcpDoor(
            "outer:0", self.listener, tls=tls is not None, context=lambda: self.context, crowd=self.crowd,
            is_proxy=lambda address: bool(self.proxies), front=self.front.serve, turn_away=say_not_tls,
        )  # fmt: skip
        self.visitors: list[Visitor] = []
        self.accepting = trio.CancelScope()
        nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        with self.accepting:
            await self.door.serve(self.nursery)

    def _standing(self) -> Standing:
        return self.standing

    async def _upgrade(self, visit: Visit, headers: Headers) -> None:
        self.came.append((visit, headers))
        async with trio.open_nursery() as nursery:
            try:
                link = (await websocket.accept(nursery, visit.stream, limit=65536)).attach(nursery)
                if self.greets:
                    visit.settle()
                while bodies := await link.receive():
                    if bodies == [b"break"]:
                        raise RuntimeError("a fault of ours")
                    link.send_nowait(bodies[0])
            except LinkLost:
                pass
            nursery.cancel_scope.cancel()

    def visitor(self, *, buffer: int = 0) -> Visitor:
        """Somebody who has connected and said nothing yet."""
        sock = socket.socket(self.listener.family)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.connect(self.listener.getsockname()[:2])
        self.visitors.append(Visitor(Tcp(sock)))
        return self.visitors[-1]

    async def ask(self, text: bytes) -> tuple[int, dict[str, str], bytes]:
        """One request of a visitor of its own, and its answer; the connection is closed."""
        visitor = self.visitor()
        visitor.stream.write(text)
        answer = await visitor.answer(head=text.startswith(b"HEAD"))
        visitor.stream.close()
        return answer

    def close(self) -> None:
        self.listener.close()
        for visitor in self.visitors:
            visitor.stream.close()


class Visitor:
    """A client that says bytes and reads answers."""

    def __init__(self, stream: Tcp) -> None:
        self.stream = stream
        self._buffer = b""

    async def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of the next answer. Raises EOFError when there is none."""
        with trio.fail_after(60):
            while b"\r\n\r\n" not in self._buffer:
                await self._more()
            text, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            first, *lines = text.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            size = 0 if head else int(headers.get("content-length", "0"))
            while len(self._buffer) < size:
                await self._more()
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return int(first.split()[1]), headers, body

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise EOFError
        self._buffer += data

    async def is_hung_up_on(self) -> bool:
        """Whether the other end closes, having said nothing (more)."""
        with trio.move_on_after(60):
            try:
                return await self.stream.receive_some() == b""
            except trio.BrokenResourceError:
                return True
        return False
