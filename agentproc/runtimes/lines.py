"""What a program that speaks JSON lines may say, each kind a type. Pure.

Owns: the form of its lines. `{"invoke": {"tool": …}}` and `{"type": "invoke", "tool": …}` are the same line, and
where one value says it all, `{"say": "…"}`, `{"steer": true}` and `{"ack": 5}` will do."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec


class Say(msgspec.Struct, frozen=True, tag="say"):
    """Progress, told to whoever watches."""

    text: str


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    """The reply of the turn; the last one counts."""

    text: str


class Invoke(msgspec.Struct, frozen=True, tag="invoke"):
    """Use a session tool. `id` is whatever the program likes to find in the answer."""

    tool: str
    args: dict[str, Any] = {}
    id: Any = None


class Once(msgspec.Struct, frozen=True, tag="once"):
    """An action outside is about to begin. `id` is told again by `done` or `failed`."""

    name: str
    id: str | int
    effect: Literal["unsafe", "idempotent", "pure"] = "unsafe"


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The action is done, with this result."""

    id: str | int
    result: Any = None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The action did not work out."""

    id: str | int
    error: str = "it failed"


class Steer(msgspec.Struct, frozen=True, tag="steer"):
    """Open or close the steer channel."""

    open: bool = True
    id: Any = None


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """The program has the steered message of this id."""

    id: int


Line = Say | Reply | Invoke | Once | Done | Failed | Steer | Ack

KINDS = ("say", "reply", "invoke", "once", "done", "failed", "steer", "ack")
BARE = {"say": "text", "reply": "text", "steer": "open", "ack": "id"}
"""Kinds of which one value says it all, and its field."""


def parse(line: bytes) -> Line:
    """What a line says. Raises ValueError with a sentence for whoever wrote the program."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"a line that is no JSON: {shown(line)}") from None
    kinds = [key for key in value if key in KINDS] if isinstance(value, dict) and "type" not in value else []
    if len(kinds) == 1:
        value = _flat(kinds[0], value[kinds[0]])
    if not isinstance(value, dict) or value.get("type") not in KINDS:
        raise ValueError(f"a line that is none of {', '.join(KINDS)}: {shown(line)}")
    try:
        told: Line = msgspec.convert(value, Line)
    except msgspec.ValidationError as error:
        raise ValueError(f"a wrong {value['type']} line ({error}): {shown(line)}") from None
    return told


def _flat(kind: str, given: object) -> object:
    """The same with its kind beside its fields; what cannot be written so is left as it is."""
    if isinstance(given, dict):
        return {**given, "type": kind}
    return {"type": kind, BARE[kind]: given} if kind in BARE else given


def shown(line: bytes) -> str:
    """The beginning of a line, for an error."""
    return line[:200].decode(errors="backslashreplace")
