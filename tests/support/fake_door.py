"""A small real door: a Unix socket that speaks peergate's frames and answers from a table, for testing clients.

Owns: a listening socket and a thread for each connection. What a test wants to see is in `heard`; what goes wrong on
purpose is raised by a handler: `Hangup` closes without an answer, `No` answers with an error, `Silence` never
answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import msgpack

Handler = Callable[[dict[str, Any]], Any]


class Hangup(Exception):
    """Close the connection now."""


class Silence(Exception):
    """Do not answer."""


class No(Exception):
    """Answer with this error."""

    def __init__(self, code: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.shape = {"code": code, "message": message, "details": details or {}}


def pack(frame: Mapping[str, Any]) -> bytes:
    """A frame as it travels."""
    body: bytes = msgpack.packb(dict(frame))
    return len(body).to_bytes(4, "big") + body


class FakeDoor:
    """Listens at `directory/name` while the block lasts. `handlers` maps a method to what answers it; `connect` has a
    default."""

    def __init__(self, directory: Path, handlers: Mapping[str, Handler], name: str = "operator.sock") -> None:
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        directory.chmod(0o711)
        self.path = directory / name
        self.principal: dict[str, Any] = {"kind": "operator", "uid": 0}
        self.handlers: dict[str, Handler] = {"connect": lambda _: self.hello(), **handlers}
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.first_reads: list[int] = []
        self.events: list[dict[str, Any]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def hello(self) -> dict[str, Any]:
        """hello-ok as far as a client looks at it."""
        methods = sorted(self.handlers)
        return {"type": "hello-ok", "protocol": 4, "principal": self.principal, "features": {"methods": methods}}

    def calls(self, method: str) -> list[dict[str, Any]]:
        """The parameters of every call of one method."""
        return [params for name, params in self.heard if name == method]

    def __enter__(self) -> FakeDoor:
        self.path.unlink(missing_ok=True)
        self._listener.bind(str(self.path))
        self.path.chmod(0o660)
        self._listener.listen(16)
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._connections):
            _shut(each)
        for thread in self._threads:
            thread.join(5)
        for each in (self._listener, *self._connections):
            each.close()

    def _handler(self, method: str) -> Handler:
        return self.handlers.get(method) or _unknown(method)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        buffer, reads = bytearray(), 0
        while True:
            try:
                data = sock.recv(65536)
            except OSError:
                return
            if not data:
                return
            buffer += data
            frames = list(_cut(buffer))
            if reads == 0:
                self.first_reads.append(len(frames))
            reads += 1
            for frame in frames:
                if not self._answer(sock, frame):
                    _shut(sock)
                    return

    def _answer(self, sock: socket.socket, frame: dict[str, Any]) -> bool:
        method, params = frame["method"], frame.get("params") or {}
        self.heard.append((method, params))
        answer: dict[str, Any] = {"type": "res", "id": frame["id"]}
        try:
            answer |= {"ok": True, "payload": self._handler(method)(params)}
        except Hangup:
            return False
        except Silence:
            return True
        except No as no:
            answer |= {"ok": False, "error": no.shape}
        try:
            sock.sendall(pack(answer))
            if method == "connect" and answer["ok"] and params.get("events"):
                sock.sendall(b"".join(pack({"type": "event", **event}) for event in self.events))
        except OSError:
            return False
        return bool(answer["ok"]) or method != "connect"


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # the other end may have been quicker
        sock.shutdown(socket.SHUT_RDWR)


def _unknown(method: str) -> Handler:
    def refuse(_: dict[str, Any]) -> Any:
        raise No("INVALID_REQUEST", f"unknown method: {method}")

    return refuse


def _cut(buffer: bytearray) -> Any:
    while len(buffer) >= 4 and len(buffer) >= 4 + (size := int.from_bytes(buffer[:4], "big")):
        yield msgpack.unpackb(bytes(buffer[4 : 4 + size]))
        del buffer[: 4 + size]
