"""The load: plain sockets and a selector, so that the measuring side costs as little as it can. Every loop is
bounded."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack


def percentile(values: Sequence[float], wanted: float) -> float:
    """The value below which `wanted` per cent lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * wanted / 100))]


def frame(identity: str, method: str, params: Mapping[str, Any]) -> bytes:
    """One request as it travels."""
    body: bytes = msgpack.packb({"type": "req", "id": identity, "method": method, "params": dict(params)})
    return len(body).to_bytes(4, "big") + body


def connect(path: Path) -> socket.socket:
    """A greeted connection."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(str(path))
    client.sendall(frame("hello", "connect", {}))
    read_frame(client)
    return client


def read_frame(client: socket.socket) -> dict[str, Any]:
    """The next frame, decoded."""
    header = client.recv(4, socket.MSG_WAITALL)
    if len(header) < 4:
        raise ConnectionError("closed")
    body = client.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL)
    answer: dict[str, Any] = msgpack.unpackb(body)
    return answer


def round_trips(client: socket.socket, frames: Sequence[bytes]) -> list[float]:
    """Seconds each took, one after the other."""
    times = []
    for data in frames:
        began = time.perf_counter()
        client.sendall(data)
        size = int.from_bytes(client.recv(4, socket.MSG_WAITALL), "big")
        client.recv(size, socket.MSG_WAITALL)
        times.append(time.perf_counter() - began)
    return times


class Flow:
    """One connection of a closed loop, its socket not blocking: what it still has to send, and what has come back."""

    def __init__(self, client: socket.socket, frames: list[bytes]) -> None:
        self.client = client
        self.frames = frames
        self.sent = 0
        self.buffer = bytearray()
        self.unsent = b""

    @property
    def all_sent(self) -> bool:
        """Whether every call was taken up to be sent."""
        return self.sent == len(self.frames)

    def pump(self, count: int) -> None:
        """Send so many more calls. Raises OSError when the connection is gone."""
        take = self.frames[self.sent : self.sent + count]
        self.sent += len(take)
        self.unsent += b"".join(take)
        while self.unsent:
            try:
                self.unsent = self.unsent[self.client.send(self.unsent) :]
            except BlockingIOError:
                return

    def answers(self) -> int:
        """How many frames have come, now that something is there to read. Raises ConnectionError at its end."""
        data = self.client.recv(262_144)
        if not data:
            raise ConnectionError("closed in the middle of a measurement")
        self.buffer += data
        count = start = 0
        while len(self.buffer) - start >= 4:
            end = start + 4 + int.from_bytes(self.buffer[start : start + 4], "big")
            if end > len(self.buffer):
                break
            start, count = end, count + 1
        del self.buffer[:start]
        return count


def closed_loop(clients: Sequence[socket.socket], frames: Sequence[bytes], window: int = 1) -> float:
    """Answers per second when every connection keeps `window` calls in flight until its share of `frames` is done."""
    selector = selectors.DefaultSelector()
    share = len(frames) // len(clients)
    flows = []
    for index, client in enumerate(clients):
        client.setblocking(False)
        flow = Flow(client, list(frames[index * share : (index + 1) * share]))
        selector.register(client, selectors.EVENT_READ, flow)
        flows.append(flow)
    waiting = share * len(clients)
    began = time.perf_counter()
    for flow in flows:
        flow.pump(window)
    deadline = began + 60
    while waiting and time.perf_counter() < deadline:
        for key, _ in selector.select(1):
            done = key.data.answers()
            waiting -= done
            key.data.pump(done)
    took = time.perf_counter() - began
    for client in clients:
        client.setblocking(True)
    if waiting:
        raise TimeoutError(f"{waiting} answers are missing after 60 s")
    return share * len(clients) / took


def served_again(path: Path, count: int, end: Callable[[], None], seconds: float = 20.0) -> float:
    """Seconds from `end()`, which ends whoever serves, until each of `count` connected clients has connected anew, been
    greeted and had its `health` answered. Raises ConnectionRefusedError when one is turned away, TimeoutError."""
    calls = [frame("hello", "connect", {}), frame("1", "health", {})]
    with closing(_Clients(path)) as clients:
        for _ in range(count):
            clients.add(connect(path), [])
        began = time.perf_counter()
        end()
        served = 0
        while served < count:
            if time.perf_counter() > began + seconds:
                raise TimeoutError(f"{count - served} clients were not served within {seconds:g} s")
            for flow in clients.readable():
                try:
                    done = flow.answers()
                    served += done > 0 and flow.all_sent
                    flow.pump(done)
                except ConnectionError:
                    clients.drop(flow)
                    clients.add(clients.dial(), calls).pump(1)
        return time.perf_counter() - began


class _Clients:
    """Connections to one door that are watched for answers. All end with `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._selector = selectors.DefaultSelector()

    def dial(self) -> socket.socket:
        """A new connection, not greeted. Raises ConnectionRefusedError."""
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(self._path))
        except OSError:
            client.close()
            raise
        return client

    def add(self, client: socket.socket, frames: list[bytes]) -> Flow:
        """Watch a connection that has these calls to send."""
        client.setblocking(False)
        flow = Flow(client, frames)
        self._selector.register(client, selectors.EVENT_READ, flow)
        return flow

    def drop(self, flow: Flow) -> None:
        """Forget a connection that has ended."""
        self._selector.unregister(flow.client)
        flow.client.close()

    def readable(self) -> list[Flow]:
        """Those that have something to say, or have ended; none when nothing happens for a moment."""
        return [key.data for key, _ in self._selector.select(0.1)]

    def close(self) -> None:
        """End them all."""
        for key in list(self._selector.get_map().values()):
            self.drop(key.data)
        self._selector.close()
