"""The three frames, and how bytes become one: msgpack on the Unix doors, JSON text on the outer one.

A request's parameters stay raw here: they are decoded later, and only against the type of the row they name, because a
free tree of 25 MiB of empty maps costs seconds and gigabytes. Decoding raises `BadFrame` and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
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


class JsonRequest(Request, tag_field="type", tag="req", frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The same as text, with what OpenClaw's clients may add; a profile is not bound to anything here."""

    params: msgspec.Raw = msgspec.Raw(b"{}")
    expected_profile_id: str | None = None


class Response(msgspec.Struct, tag_field="type", tag="res", frozen=True, omit_defaults=True):
    """An answer. A method may answer twice (`agent`): first `accepted`, later the final. A payload may be null; an
    error has none."""

    id: str
    ok: bool
    payload: Any = msgspec.UNSET
    error: ErrorShape | None = None


class Event(msgspec.Struct, tag_field="type", tag="event", frozen=True, omit_defaults=True, rename="camel"):
    """Something that happened. `seq` counts the broadcasts of one connection from 1; a gap means some were dropped."""

    event: str
    payload: Any = None
    seq: int | None = None
    state_version: dict[str, int] | None = None


Incoming = Response | Event

CLOSED = "invalid request frame"
_requests = msgspec.msgpack.Decoder(Request)
_json_requests = msgspec.json.Decoder(JsonRequest)
_incoming = msgspec.msgpack.Decoder(Incoming)
_json_incoming = msgspec.json.Decoder(Incoming)
_encoder = msgspec.msgpack.Encoder()
_json_encoder = msgspec.json.Encoder()

# msgspec signals a malformed input in five ways (libraries note: 100,000 levels raise RecursionError, not ValueError).
MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, ValueError)


_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$(?P<place>.*)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*?)`(?: - at `\$(?P<place>.*)`)?")
_CHOICE = re.compile(r"Invalid enum value .* - at `\$\.(?P<name>\w+)`", re.DOTALL)


def malformed_text(error: Exception) -> str:
    """What is wrong with what somebody sent. A member too many or too few is said in OpenClaw's words: its clients look
    for `unexpected property 'x'` and try again as an older one would."""
    text = str(error)
    if found := _UNKNOWN.fullmatch(text):
        return f"at {_pointer(found['place']) or 'root'}: unexpected property '{found['name']}'"
    if found := _MISSING.fullmatch(text):
        place = _pointer(found["place"])
        return f"{f'at {place}: ' if place else ''}must have required property '{found['name']}'"
    return text


def unexpected_member(error: Exception) -> str | None:
    """The name of a member too many at the root of what somebody sent, or None when something else is wrong."""
    found = _UNKNOWN.fullmatch(str(error))
    return found["name"] if found and found["place"] is None else None


def wrong_choice(error: Exception) -> str | None:
    """The name of the member at the root that has none of the values it may have, or None when something else is
    wrong."""
    found = _CHOICE.fullmatch(str(error))
    return found["name"] if found else None


def _pointer(place: str | None) -> str:
    return re.sub(r"\[(.*?)\]", r".\1", place or "").replace(".", "/")


def decode_request(body: bytes) -> Request:
    """The request in one msgpack body."""
    return _request(_requests, body)


def decode_json_request(body: bytes) -> Request:
    """The request in one JSON text."""
    return _request(_json_requests, body)


def _request(decoder: Any, body: bytes) -> Request:
    try:
        request: Request = decoder.decode(body)
    except MALFORMED as error:
        raise BadFrame(f"{CLOSED}: {malformed_text(error)}") from None
    if not request.id or not request.method:
        raise BadFrame(f"{CLOSED}: id and method must not be empty")
    return request


def decode_incoming(body: bytes) -> Incoming:
    """The response or event in one msgpack body: the client's half."""
    return _frame(_incoming, body)


def decode_json_incoming(body: bytes) -> Incoming:
    """The same in one JSON text."""
    return _frame(_json_incoming, body)


def _frame(decoder: Any, body: bytes) -> Incoming:
    try:
        frame: Incoming = decoder.decode(body)
    except MALFORMED as error:
        raise BadFrame(f"invalid frame from the gateway: {error}") from None
    return frame


def encode(frame: Request | Response | Event) -> bytes:
    """One frame's msgpack body, without the length prefix."""
    return _encoder.encode(frame)


def encode_json(frame: Request | Response | Event) -> bytes:
    """One frame as JSON text, UTF-8."""
    return _json_encoder.encode(frame)


class Codec(msgspec.Struct, frozen=True):
    """How frames become bytes on one kind of door. `encode_value` packs one value, `decoder_of` makes a decoder for a
    type; `forgiving`: a malformed frame is answered and does not end a greeted connection (OpenClaw's outer door)."""

    name: str
    decode_request: Callable[[bytes], Request]
    decode_incoming: Callable[[bytes], Incoming]
    encode: Callable[[Request | Response | Event], bytes]
    encode_value: Callable[[Any], bytes]
    decoder_of: Callable[[Any], Any]
    forgiving: bool = False


MSGPACK = Codec(
    "msgpack", decode_request, decode_incoming, encode, _encoder.encode, lambda kind: msgspec.msgpack.Decoder(kind)
)
JSON = Codec(
    "json", decode_json_request, decode_json_incoming, encode_json, _json_encoder.encode,
    lambda kind: msgspec.json.Decoder(kind), forgiving=True,
)  # fmt: skip


class Broadcast:
    """One event on its way to many connections: the payload is encoded once for each codec somebody listens with, and
    each connection adds its own number.

    A body is a prefix and the number: the number is the last value of the map, so it needs no second encoding."""

    __slots__ = ("_packed", "_text", "name", "payload", "state_version")

    def __init__(self, name: str, payload: object, state_version: dict[str, int] | None = None) -> None:
        self.name = name
        self.payload = payload
        self.state_version = state_version
        self._packed: bytes | None = None
        self._text: bytes | None = None

    def body(self, seq: int, codec: Codec = MSGPACK) -> bytes:
        """The event as the `seq`th broadcast of one connection."""
        if codec is MSGPACK:
            if self._packed is None:
                self._packed = self._pack()
            return self._packed + _encoder.encode(seq)
        if self._text is None:
            whole = encode_json(Event(self.name, self.payload, state_version=self.state_version))
            self._text = whole[:-1] + b',"seq":'
        return self._text + b"%d}" % seq

    def _pack(self) -> bytes:
        fields: list[object] = ["type", "event", "event", self.name, "payload", self.payload]
        fields += ["stateVersion", self.state_version] if self.state_version is not None else []
        return bytes([0x80 | len(fields) // 2 + 1]) + b"".join(map(_encoder.encode, [*fields, "seq"]))


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
