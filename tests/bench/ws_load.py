"""The load on the outer door: WebSocket frames over plain sockets or TLS, written and counted by hand, so that the
measuring side costs as little as it can. Every loop is bounded.

Frames to send are masked before the clock starts, all with one key: the server has the same work with any. Of what
comes back, lengths and first bytes are looked at, and nothing else once a connection is greeted."""

from __future__ import annotations

import json
import os
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 30.0
"""How long a connection may stay silent, and a loop may take."""
ANSWER = b'{"type":"re'
"""How a response begins, and a request that is echoed."""
Saying = Callable[[str, int], Mapping[str, Any]]
"""The parameters of a connect, given the challenge's nonce and time."""
_READ_BYTES = 262_144
_MASK = b"\x5a\xa5\x3c\xc3"
_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where an outer door is; with a TLS context, a TLS one."""

    host: str
    port: int
    context: ssl.SSLContext | None = None


def trusting() -> ssl.SSLContext:
    """TLS that takes any certificate: what is measured here is not who the server is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def text(body: bytes, *, masked: bool = True) -> bytes:
    """A text frame of less than 64 KiB, as a client sends it or (not masked) as a server does (RFC 6455 section
    5.2)."""
    size, bit = len(body), 0x80 if masked else 0
    head = bytes((0x81, bit | size)) if size < 126 else struct.pack("!BBH", 0x81, bit | 126, size)
    if not masked:
        return head + body
    pad = (_MASK * (size // 4 + 1))[:size]
    return head + _MASK + (int.from_bytes(body, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


def call(identity: str, method: str, params: Mapping[str, Any], *, masked: bool = True) -> bytes:
    """One request as it travels."""
    frame = {"type": "req", "id": identity, "method": method, "params": params}
    return text(json.dumps(frame, separators=(",", ":")).encode(), masked=masked)


class Guest:
    """One connection whose WebSocket is open. `frames` are what it has to send in a loop."""

    def __init__(self, address: Address, *, upgrade: bool = True) -> None:
        self.socket = socket.create_connection((address.host, address.port), SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.context is not None:
            self.socket = address.context.wrap_socket(self.socket)
        self.frames: Sequence[bytes] = ()
        self.sent = 0
        self._buffer = bytearray()
        self._unsent = b""
        if upgrade:
            try:
                self._shake_hands(address.host)
            except OSError:
                self.close()
                raise

    def _shake_hands(self, host: str) -> None:
        self.socket.sendall(_UPGRADE % host.encode())
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._read()
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        if b" 101 " not in head:
            raise ConnectionError(head.decode(errors="replace"))

    def _read(self) -> None:
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionError("closed in the middle of a measurement")
        self._buffer += data
        while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():  # what no selector knows of
            self._buffer += self.socket.recv(_READ_BYTES)

    def _whole(self) -> Iterator[tuple[int, int]]:
        """Start and end of each whole frame's payload that has come; they are taken away when all have been seen."""
        buffer, start = self._buffer, 0
        while len(buffer) - start >= 2:
            size, body = buffer[start + 1], start + 2
            if size == 126:
                size, body = int.from_bytes(buffer[start + 2 : start + 4], "big"), start + 4
            elif size == 127:
                size, body = int.from_bytes(buffer[start + 2 : start + 10], "big"), start + 10
            if len(buffer) < body + size or len(buffer) < body:
                break
            yield body, body + size
            start = body + size
        del buffer[:start]

    def hear(self) -> dict[str, Any]:
        """The next text, decoded; for greetings, where one comes at a time. Raises ConnectionError."""
        while True:
            for start, end in self._whole():
                if self._buffer[start : start + 1] == b"{":
                    said: dict[str, Any] = json.loads(self._buffer[start:end])
                    del self._buffer[:end]
                    return said
            self._read()

    def say(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One call and its answer, blocking; events that come first are passed over."""
        self.socket.sendall(call("1", method, params))
        while (said := self.hear())["type"] != "res":
            continue
        return said

    def pump(self, count: int) -> None:
        """Send so many more of `frames`, as far as the kernel takes them."""
        self._unsent += b"".join(self.frames[self.sent : self.sent + count])
        self.sent = min(self.sent + count, len(self.frames))
        while self._unsent:
            try:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                return

    def count(self, first: bytes) -> int:
        """How many frames that begin like this have come, now that something is there to read. Raises
        ConnectionError."""
        try:
            self._read()
        except (BlockingIOError, ssl.SSLWantReadError):
            return 0  # TLS had something to say to itself
        buffer = self._buffer
        return sum(buffer.startswith(first, start) for start, _ in self._whole())

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def greet(address: Address, saying: Saying) -> tuple[Guest, dict[str, Any]]:
    """A connection that has said `connect`, and the answer."""
    guest = Guest(address)
    challenge = guest.hear()["payload"]
    return guest, guest.say("connect", saying(challenge["nonce"], challenge["ts"]))


def round_trips(guest: Guest, frames: Sequence[bytes]) -> list[float]:
    """Seconds each took, one after the other."""
    times = []
    for data in frames:
        began = time.perf_counter()
        guest.socket.sendall(data)
        while not guest.count(ANSWER):
            continue
        times.append(time.perf_counter() - began)
    return times


@contextmanager
def watched(guests: Sequence[Guest]) -> Iterator[selectors.BaseSelector]:
    """A selector over them; none of them blocks meanwhile."""
    with selectors.DefaultSelector() as selector:
        for guest in guests:
            guest.socket.setblocking(False)
            selector.register(guest.socket, selectors.EVENT_READ, guest)
        try:
            yield selector
        finally:
            for guest in guests:
                guest.socket.settimeout(SECONDS)


def closed_loop(guests: Sequence[Guest], frames: Sequence[bytes], seconds: float, window: int = 1) -> tuple[int, float]:
    """Keep `window` calls in flight on every connection for so long; answers, and seconds until the last of them.
    `frames` is enough for one connection."""
    done = 0
    with watched(guests) as selector:
        for guest in guests:
            guest.frames, guest.sent = frames, 0
        began = time.perf_counter()
        for guest in guests:
            guest.pump(window)
        waiting = window * len(guests)
        while waiting and time.perf_counter() - began < seconds + SECONDS:
            more = time.perf_counter() - began < seconds
            for key, _ in selector.select(1):
                answers = key.data.count(ANSWER)
                done, waiting = done + answers, waiting - answers
                if more and answers:
                    before = key.data.sent
                    key.data.pump(answers)
                    waiting += key.data.sent - before
        took = time.perf_counter() - began
    if waiting:
        raise TimeoutError(f"{waiting} answers are missing")
    return done, took


def arrivals(guests: Sequence[Guest], first: bytes, each: int) -> list[float]:
    """When each connection had so many frames that begin like this, in ascending order, seconds of perf_counter."""
    times: list[float] = []
    left = dict.fromkeys(map(id, guests), each)
    with watched(guests) as selector:
        until = time.perf_counter() + SECONDS
        while len(times) < len(guests):
            if time.perf_counter() > until:
                raise TimeoutError(f"{len(guests) - len(times)} of {len(guests)} connections still wait")
            for key, _ in selector.select(1):
                guest = key.data
                before = left[id(guest)]
                left[id(guest)] = before - guest.count(first)
                if before > 0 >= left[id(guest)]:
                    times.append(time.perf_counter())
    return times


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processor in all its threads, as the scheduler counted it."""
    total = 0
    for task in os.scandir(f"/proc/{pid}/task"):
        total += int(Path(task.path, "schedstat").read_text().split()[0])
    return total / 1e9
