"""What a transaction of pairing did, told to memory and to listeners in commit order. Pure.

Owns the vocabulary between the disk and the book; what a step changes and does not tell is unknown until the next
start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.protocol.devices import AuditLine, Device, Pending, SetupCode
from gateway.protocol.errors import Refusal, invalid

T = TypeVar("T")

APPROVED, REJECTED, EXPIRED = "approved", "rejected", "expired"
REMOVED, ROTATED, REVOKED = "device-pair-removed", "device-token-rotated", "device-token-revoked"
"""Why a device's connections are ended; the peer reads `client invalidated: …`."""


@dataclass(frozen=True, slots=True)
class Paired:
    """A device is paired, or its record is different. `told`: the word of the event device.pair.changed, if any."""

    device: Device
    told: str = ""


@dataclass(frozen=True, slots=True)
class Unpaired:
    """A device is no longer paired."""

    device_id: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request waits. `new`: people have to hear of it."""

    request: Pending
    new: bool


@dataclass(frozen=True, slots=True)
class Resolved:
    """A request waits no more. A superseded one counts as rejected."""

    request: Pending
    decision: str


@dataclass(frozen=True, slots=True)
class CodeKept:
    """A setup code is new, or has been used."""

    code: SetupCode


@dataclass(frozen=True, slots=True)
class CodeDropped:
    """A setup code is worth nothing any more."""

    token_hash: str


@dataclass(frozen=True, slots=True)
class Invalidated:
    """Connections of a device, in one role or in all, have lost what let them in."""

    device_id: str
    role: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Noted:
    """A line was added to the audit."""

    line: AuditLine


Change = Paired | Unpaired | Asked | Resolved | CodeKept | CodeDropped | Invalidated | Noted


@dataclass(slots=True)
class Step(Generic[T]):
    """A transaction's answer for its caller, and its changes."""

    value: T
    changes: list[Change] = field(default_factory=list)


def denied(message: str, rule: str, **details: object) -> Refusal:
    """A refusal that the audit remembers: `rule` is what decided."""
    return invalid(message, reason=rule, **details)
