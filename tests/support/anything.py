"""Parameters that a type allows and others that it does not, made by chance; and what must be true of every answer.

Owns the values that have been known to hurt: too large, too deep, of another type, cut in the middle, not a text."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import msgspec.inspect as types
import trio

from gateway.auth.principal import Principal
from gateway.protocol.calls.system import Connect
from gateway.protocol.errors import ErrorCode, ErrorShape
from gateway.protocol.frames import MSGPACK, Broadcast, Codec, Response

MAIN = "agent:main:main"
WORDS = [
    "", " ", "main", MAIN, "agent:main:none", "agent:other:main", "agent:main:subagent:kid", ":", "hello", "x" * 700,
    "\0", "/tmp/a\0b", f"/{'x' * 700}", "/nonexistent/x", "../../none/x", "/new", "/reset hi", "/stop", "\u202e\n",
    "Ā", "%", "'", "9" * 30, "-1", "wss://[x", "ws://x:99999999", "http://a@b", "wss://℀", "2030-01-01T00:00:00Z",
    "20m", "* * * * *", "Europe/Berlin", "operator.read", "node", "operator", "list", "wait", "get", "add", "update",
    "remove", "run", "runs", "wake", "status", "done", "failed",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 50, 200, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 253402300799000]
FRACTIONS = [0.0, -1.0, 0.5, 1e300, -1e300, float("nan"), float("inf"), float("-inf")]
JUNK: dict[str, list[Any]] = {
    "msgpack": [
        msgspec.msgpack.Ext(5, b"x"), msgspec.msgpack.Ext(-1, b"\0\0\0\0"), {1: 2}, {None: 1}, {b"a": 1}, {(1, 2): 3},
        b"\xff\0", msgspec.Raw(b"\x91" * 900 + b"\1"),
    ],
    "json": [
        msgspec.Raw(text)
        for text in (
            b"1e999", b"9" * 400, b"9" * 5000, b'"\\ud800"', b'"\\udc00\\ud800"', b'{"a":1,"a":2}', b"-0",
            b"[" * 900 + b"]" * 900, b"[" * 100_000 + b"]" * 100_000,
        )
    ],
}  # fmt: skip
PLAIN_JUNK: list[Any] = [None, True, [], {}, [1, "a"], {"a": {"b": [None]}}, {"": ""}]


class Chance:
    """Values for one codec, the same ones for the same seed."""

    def __init__(self, seed: int, codec: Codec) -> None:
        self._random = random.Random(f"{seed} {codec.name}")
        self._junk = [*PLAIN_JUNK, *JUNK[codec.name]]

    def one_of(self, values: Any) -> Any:
        return self._random.choice(values)

    def often(self, share: float) -> bool:
        return self._random.random() < share

    def value(self, kind: types.Type, depth: int = 0) -> Any:
        """Mostly what `kind` allows; now and then anything else."""
        if self.often(0.06):
            return self.one_of([*self._junk, self.one_of(WORDS), self.one_of(NUMBERS), self.one_of(FRACTIONS)])
        match kind:
            case types.Metadata():
                return self.value(kind.type, depth)
            case types.UnionType():
                return self.value(self.one_of(kind.types), depth)
            case types.StrType():
                return self.one_of(WORDS)
            case types.IntType():
                return self.one_of(NUMBERS)
            case types.FloatType():
                return self.one_of(FRACTIONS)
            case types.BoolType():
                return self.often(0.5)
            case types.NoneType():
                return None
            case types.LiteralType():
                return self.one_of(kind.values)
            case types.ListType() | types.VarTupleType():
                return [self.value(kind.item_type, depth + 1) for _ in range(self.one_of([0, 1, 1, 2, 3]))]
            case types.DictType():
                return {self.one_of(WORDS): self.value(kind.value_type, depth + 1) for _ in range(self.one_of([0, 1]))}
            case types.StructType():
                return self._struct(kind, depth)
            case _:
                return self.one_of(self._junk)

    def _struct(self, kind: types.StructType, depth: int) -> dict[str, Any]:
        told = {str(kind.tag_field): kind.tag} if kind.tag is not None else {}
        for one in kind.fields:
            if one.required or self.often(0.35):
                told[one.encode_name] = self.value(one.type, depth + 1)
        return told | ({"unknown": 1} if self.often(0.02) else {})


class Anybody:
    """A connection of some principal: it runs what is started, and checks what it is told and what it hears."""

    def __init__(self, name: str, principal: Principal, codec: Codec, nursery: trio.Nursery) -> None:
        self.id, self.principal, self.codec = name, principal, codec
        self.in_flight, self.connect = set[str](), Connect(caps=("tool-events",))
        self.answers: dict[str, list[ErrorShape | None]] = {}
        self._nursery = nursery

    def respond(self, id: str, payload: object) -> None:
        self._read(self.codec.encode(Response(id, True, payload)))
        self.answers.setdefault(id, []).append(None)

    def respond_error(self, id: str, error: ErrorShape) -> None:
        self._read(self.codec.encode(Response(id, False, error=error)))
        assert error.code in set(ErrorCode), error
        assert error.message, error
        self.answers.setdefault(id, []).append(error)

    def post_event(self, event: str, payload: object) -> None:
        self._read(self.codec.encode_value(payload))

    def deliver(self, broadcast: Broadcast) -> None:
        self._read(broadcast.body(1, self.codec))

    def start(self, run: Any, *, patient: bool) -> None:
        self._nursery.start_soon(run)

    def _read(self, body: bytes) -> None:
        """As a client would: every byte of it."""
        if self.codec is MSGPACK:
            msgspec.msgpack.decode(body, strict=False)
        else:
            msgspec.json.decode(body)
