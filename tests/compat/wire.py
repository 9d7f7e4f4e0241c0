"""A blocking WebSocket of OpenClaw's kind: one JSON text per frame. What is sent may be wrong in every way."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from gateway.link.websocket import frame

SECONDS = 20.0
_TEXT, _CLOSE = 1, 8


class Hung(Exception):
    """The other end hung up; `code` and `text` are those of its Close frame, if it sent one."""

    def __init__(self, code: int | None = None, text: str = "") -> None:
        super().__init__(f"closed: {code} {text}")
        self.code, self.text = code, text


class Wire:
    """A connection from its upgrade on; `status` is what HTTP answered, 101 when it is a WebSocket."""

    def __init__(self, address: tuple[str, int], host: str, headers: Sequence[tuple[str, str]], *, tls: bool) -> None:
        self._sock = socket.create_connection(address, timeout=SECONDS)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._sock = context.wrap_socket(self._sock)
        self._last = 1
        self._file = self._sock.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET / HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *(f"{name}: {say}" for name, say in headers),
        ]
        self._sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self.status = int(self._file.readline().split()[1])
        while self.status == 101 and self._file.readline() != b"\r\n":
            pass

    def tell(self, body: bytes) -> None:
        """One text frame."""
        self._sock.sendall(frame(0x80 | _TEXT, body, masked=True))

    def hear(self) -> dict[str, Any]:
        """The next text frame. Raises Hung at the end."""
        while True:
            kind, size = self._exactly(2)
            size &= 0x7F
            if size >= 126:
                size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
            body = self._exactly(size)
            if kind & 0xF == _CLOSE:
                raise Hung(int.from_bytes(body[:2], "big"), body[2:].decode())
            if kind & 0xF == _TEXT:
                told: dict[str, Any] = json.loads(body)
                return told

    def answer(self, id: str | None = None) -> dict[str, Any]:
        """The next answer, to this request or to any. Raises Hung."""
        while True:
            told = self.hear()
            if told["type"] == "res" and id in (None, told["id"]):
                return told

    def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a call, whole. Raises Hung."""
        self._last += 1
        self.tell(request(str(self._last), method, params or {}))
        return self.answer(str(self._last))

    def until_closed(self) -> Hung:
        """How it ended, once nothing but events came."""
        try:
            while True:
                told = self.hear()
                assert told["type"] == "event", told
        except Hung as hung:
            return hung

    def close(self) -> None:
        """Hang up without a word."""
        self._file.close()
        self._sock.close()

    def _exactly(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except (ConnectionResetError, ssl.SSLError) as error:
            raise Hung(None, type(error).__name__) from error
        if len(data) < size:
            raise Hung()
        return data


def request(id: str, method: str, params: Any) -> bytes:
    """A request as it travels."""
    return json.dumps({"type": "req", "id": id, "method": method, "params": params}).encode()
