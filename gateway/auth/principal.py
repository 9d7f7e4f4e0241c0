"""Who a peer is, once it has been decided. Immutable; made by `decide` alone, from what the kernel and our own records
say.

Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import msgspec

from gateway.protocol import scopes as words
from gateway.protocol.errors import CloseReason


class Kind(enum.StrEnum):
    """What sort of peer it is."""

    WORKER = "worker"
    TOOL = "tool"
    OPERATOR = "operator"
    FOREIGN = "foreign"
    DEVICE = "device"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Principal:
    """A peer that was let in. `scopes` are as granted, `granted` is what they imply. `agent`, `session` and `spawn` are
    set for a worker and its tools: the session such a peer acts as is this one and cannot be given. `start` is the
    process's start time in clock ticks since boot (0 when unknown), `pid` is 0 for a peer of another PID namespace.

    A peer of the outer door is a DEVICE, paired by a person, or OPEN: let in without one, because the operator chose by
    name to trust the network (mode none) or a proxy's user. It has no process here: `uid` and `gid` are -1, `pid` 0.
    `role` is what it connected as, `method` what it proved, `address` where it came from, `client` what it calls
    itself, `user` whom a trusted proxy named."""

    kind: Kind
    scopes: frozenset[str]
    door: str
    uid: int
    gid: int
    pid: int
    start: int = 0
    agent: str = ""
    session: str = ""
    spawn: str = ""
    device: str = ""
    address: str = ""
    role: str = "operator"
    method: str = "peer"
    client: str = ""
    user: str = ""
    granted: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "granted", words.expand(self.scopes) | {words.PUBLIC})

    def may(self, scope: str) -> bool:
        """Whether this peer has `scope`."""
        return scope in self.granted

    @property
    def bound(self) -> bool:
        """Whether it acts as one session (a worker or a tool)."""
        return self.kind is Kind.WORKER or self.kind is Kind.TOOL

    @property
    def name(self) -> str:
        """For logs and refusals."""
        match self.kind:
            case Kind.WORKER:
                return f"worker {self.agent} (session {self.session}, pid {self.pid})"
            case Kind.TOOL:
                return f"tool of agent {self.agent} (session {self.session}, pid {self.pid}, uid {self.uid})"
            case Kind.OPERATOR:
                return f"operator uid {self.uid} (pid {self.pid})"
            case Kind.FOREIGN:
                return f"foreign uid {self.uid}"
            case Kind.DEVICE:
                return f"device {self.device[:12]} ({self.client} at {self.address})"
            case Kind.OPEN:
                return f"{self.user or 'unpaired client'} ({self.client} at {self.address}, {self.method})"

    @property
    def account(self) -> str:
        """Who shares an idempotency key: the session for a worker and its tools (it outlives the process), a device, or
        a uid."""
        if self.bound:
            return self.session
        if self.outside:
            return f"{self.kind}:{self.device or self.user or self.address}"
        return f"{self.kind}:{self.uid}"

    @property
    def outside(self) -> bool:
        """Whether it came through the outer door."""
        return self.kind is Kind.DEVICE or self.kind is Kind.OPEN

    @property
    def budget(self) -> str:
        """Who shares a number of connections: a worker with its tools, all operators together, a foreign uid."""
        if self.bound:
            return self.spawn
        return "operators" if self.kind is Kind.OPERATOR else self.account


class Refused(msgspec.Struct, frozen=True):
    """A peer that is not let in. `message` is the sentence it is told, with what would allow it; `detail` is for the
    log only."""

    reason: CloseReason
    message: str
    detail: str = ""
    code: str = "FORBIDDEN"


class NeedsTicket(msgspec.Struct, frozen=True):
    """The process is a worker's: with its ticket it becomes `worker`; without one, what `otherwise` says."""

    worker: Principal
    otherwise: Principal | Refused


Verdict = Principal | NeedsTicket | Refused


class Refusal(msgspec.Struct, frozen=True):
    """One line of the refusals table: who was refused what, where. `code` is the error code or the reason of a
    closing."""

    code: str
    message: str
    who: str
    door: str
    uid: int
    pid: int
    agent: str = ""
    session: str = ""
    method: str = ""
    detail: str = ""
