"""What the outer door's decision is made from, and what it may say: a picture of one connect, and three verdicts. Pure.

`outer.decide` goes from one to the other; the greeting fills the picture and carries the verdict out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.auth import secrets
from gateway.auth.principal import Principal
from gateway.auth.proof import BadProof, Proven
from gateway.auth.secrets import Shown
from gateway.protocol import scopes as words
from gateway.protocol.calls.system import Connect
from gateway.protocol.devices import OPERATOR_ROLE, Device, SetupCode
from gateway.protocol.errors import CloseReason, ErrorShape
from supervisor.messages import Held

NOTHING_SHOWN = Shown("token", "token_missing")


class Picture(msgspec.Struct, frozen=True):
    """One connect, with everything known about it. `first` and `held` are who holds the peer's socket, as asked at the
    accept and now. `address` is the client's, a proxy's word for it included. `shared` is what its shared secret is
    worth, `device_token` the reason why its device token is worth nothing (empty when it is right), `setup` the setup
    code it showed. `device` is the record of the device it proved to be. `locked`: for how many milliseconds attempts
    of a kind are not listened to. `origins` are the web pages that may connect, `operators` the uids that are
    operators'."""

    door: str
    address: str
    first: Held
    held: Held
    connect: Connect
    now_ms: int
    proof: Proven | BadProof | None = None
    shared: Shown = NOTHING_SHOWN
    device_token: str = secrets.DEVICE_TOKEN_MISMATCH
    device: Device | None = None
    setup: SetupCode | None = None
    user: str = ""
    origin: str | None = None
    origins: frozenset[str] = frozenset()
    operators: frozenset[int] = frozenset()
    locked: Mapping[str, int] = msgspec.field(default_factory=dict)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The scopes it asks for, as far as they exist."""
        return wanted_by(self.connect)


class Admit(msgspec.Struct, frozen=True):
    """It is let in. `proved` names the kind of secret that was right, for the count of failures; `proven` the device,
    if it showed one. A `setup` verdict is an approval given beforehand, and must be redeemed before the greeting."""

    principal: Principal
    scopes: tuple[str, ...]
    role: str
    method: str
    setup: bool = False
    proved: str | None = None
    proven: Proven | None = None


class Ask(msgspec.Struct, frozen=True):
    """It is not let in, but may wait for a person: a pending request shall be left, then the client be told."""

    reason: str
    proven: Proven
    role: str
    scopes: tuple[str, ...]
    method: str
    device: Device | None = None
    proved: str | None = None


class Refused(msgspec.Struct, frozen=True):
    """It is not let in. `rule` is for the audit, `detail` for the log, `failed` are the kinds of secret it got
    wrong."""

    rule: str
    close: CloseReason
    error: ErrorShape
    detail: str = ""
    failed: tuple[str, ...] = ()


def wanted_by(connect: Connect) -> tuple[str, ...]:
    """The scopes a client asks for, as far as they exist for its role, each once."""
    if connect.role != OPERATOR_ROLE:
        return ()
    return tuple(scope for scope in dict.fromkeys(connect.scopes or ()) if scope in words.KNOWN_SCOPES)


Verdict = Admit | Ask | Refused
