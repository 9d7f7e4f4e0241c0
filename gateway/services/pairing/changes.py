"""What a transaction of pairing did, told to memory and to listeners in commit order. Pure.

Owns the vocabulary between the disk and the book; what a step changes and does not tell is unknown until the next
start."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from gateway.protocol.devices import AuditLine, Device, Pending, SetupCode
from gateway.protocol.errors import Refusal, invalid

T = TypeVar("T")

APPROVED, REJECTED, EXPIRED = "approved", "rejected", "expired"
REMOVED, ROTATED, REVOKED = "device-pair-removed", "device-token-rotated", "device-token-revoked"
"""Why a device's connections are ended; the peer reads `client invalidated: …`."""


class Paired(msgspec.Struct, frozen=True):
    """A device is paired, or its record is different. `told`: the word of the event device.pair.changed, if any."""

    device: Device
    told: str = ""


class Unpaired(msgspec.Struct, frozen=True):
    """A device is no longer paired."""

    device_id: str


class Asked(msgspec.Struct, frozen=True):
    """A request waits. `new`: people have to hear of it."""

    request: Pending
    new: bool


class Resolved(msgspec.Struct, frozen=True):
    """A request waits no more. A superseded one counts as rejected."""

    request: Pending
    decision: str


class CodeKept(msgspec.Struct, frozen=True):
    """A setup code is new, or has been used."""

    code: SetupCode


class CodeDropped(msgspec.Struct, frozen=True):
    """A setup code is worth nothing any more."""

    token_hash: str


class Invalidated(msgspec.Struct, frozen=True):
    """Connections of a device, in one role or in all, have lost what let them in."""

    device_id: str
    role: str | None
    why: str


class Noted(msgspec.Struct, frozen=True):
    """A line was added to the audit."""

    line: AuditLine


Change = Paired | Unpaired | Asked | Resolved | CodeKept | CodeDropped | Invalidated | Noted


class Step(msgspec.Struct, Generic[T]):
    """A transaction's answer for its caller, and its changes."""

    value: T
    changes: list[Change] = msgspec.field(default_factory=list)


def denied(message: str, rule: str, **details: object) -> Refusal:
    """A refusal that the audit remembers: `rule` is what decided."""
    return invalid(message, reason=rule, **details)
