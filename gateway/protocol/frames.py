"""The three frames, and how bytes become one.

A request's parameters stay raw here: they are decoded later, and only against the type of the row they name, because a
free tree of 25 MiB of empty maps costs seconds and gigabytes. Decoding raises `BadFrame` and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.protocol.errors import ErrorShape

EMPTY = msgspec.Raw(b"\x80")
"""No parameters: an empty msgpack map."""


class BadFrame(ValueError):
    """The bytes are no frame we accept; says what was wrong and where."""


class FrameTooLarge(BadFrame):
    """A header announced more than is allowed here."""


class Request(msgspec.Struct, tag_field="type", tag="req", frozen=True, forbid_unknown_fields=True):
    """A call. `id` is the caller's, opaque to us, unique among its calls in flight."""

    id: str
    method: str
    params: msgspec.Raw = EMPTY
    traceparent: str | None = None


class Response(msgspec.Struct, tag_field="type", tag="res", frozen=True, omit_defaults=True):
    """An answer. A method may answer twice (`agent`): first `accepted`, later the final."""

    id: str
    ok: bool
    payload: Any = None
    error: ErrorShape | None = None


class Event(msgspec.Struct, tag_field="type", tag="event", frozen=True, omit_defaults=True, rename="camel"):
    """Something that happened. `seq` counts the broadcasts of one connection from 1; a gap means some were dropped."""

    event: str
    payload: Any = None
    seq: int | None = None


Incoming = Response | Event

CLOSED = "invalid request frame"
_requests = msgspec.msgpack.Decoder(Request)
_incoming = msgspec.msgpack.Decoder(Incoming)
_encoder = msgspec.msgpack.Encoder()

# msgspec signals a malformed input in five ways (libraries note: 100,000 levels raise RecursionError, not ValueError).
MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, ValueError)


def decode_request(body: bytes) -> Request:
    """The request in one msgpack body."""
    try:
        request = _requests.decode(body)
    except MALFORMED as error:
        raise BadFrame(f"{CLOSED}: {error}") from None
    if not request.id or not request.method:
        raise BadFrame(f"{CLOSED}: id and method must not be empty")
    return request


def decode_incoming(body: bytes) -> Incoming:
    """The response or event in one msgpack body: the client's half."""
    try:
        frame: Incoming = _incoming.decode(body)
    except MALFORMED as error:
        raise BadFrame(f"invalid frame from the gateway: {error}") from None
    return frame


def encode(frame: Request | Response | Event) -> bytes:
    """One frame's msgpack body, without the length prefix."""
    return _encoder.encode(frame)


class Broadcast:
    """One event on its way to many connections: the payload is encoded once, and each connection adds its own number.

    A body is `prefix` and the number: the number is the last value of the map, so it needs no second encoding."""

    __slots__ = ("name", "payload", "prefix")

    def __init__(self, name: str, payload: object) -> None:
        self.name = name
        self.payload = payload
        self.prefix = b"\x84" + b"".join(
            map(_encoder.encode, ("type", "event", "event", name, "payload", payload, "seq"))
        )

    def body(self, seq: int) -> bytes:
        """The event as the `seq`th broadcast of one connection."""
        return self.prefix + _encoder.encode(seq)


def pack(body: bytes) -> bytes:
    """A body as it travels on a Unix socket: 4-byte big-endian length, then the body."""
    return len(body).to_bytes(4, "big") + body


class Splitter:
    """Cuts a byte stream into bodies. Owns what has arrived and is not yet a whole frame.

    `limit` (bytes of one body) may be raised after hello. A header that announces more raises at once, before its body
    arrives."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._start = 0

    @property
    def pending(self) -> int:
        """Bytes waiting for the rest of their frame; not zero at end-of-file means the peer died in the middle of
        one."""
        return len(self._buffer) - self._start

    def feed(self, data: bytes | memoryview) -> None:
        """Take what was read."""
        if self._start:
            # Once per read, not once per frame: deleting from the front moves everything behind it.
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    def next_body(self) -> bytes | None:
        """The next whole body, or None until more is fed. Raises FrameTooLarge if a header announces too much."""
        buffer, start = self._buffer, self._start
        if len(buffer) - start < 4:
            return None
        size = int.from_bytes(buffer[start : start + 4], "big")
        if size > self.limit:
            raise FrameTooLarge(f"a frame of {size} bytes, at most {self.limit} are allowed here")
        end = start + 4 + size
        if len(buffer) < end:
            return None
        self._start = end
        return bytes(buffer[start + 4 : end])
