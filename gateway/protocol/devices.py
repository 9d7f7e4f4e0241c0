"""Records of device pairing, as kept and as they travel: pending requests, paired devices, tokens, setup codes.

Shapes as OpenClaw's (2026.9.6, `src/infra/device-pairing-*`): camelCase, absent fields left out, times in milliseconds
since the epoch. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

OPERATOR_ROLE, NODE_ROLE = "operator", "node"
ROLES = (OPERATOR_ROLE, NODE_ROLE)

PENDING_TTL_MS = 300_000
"""How long a request waits, counted from its last refresh."""
SETUP_TTL_MS = 600_000
"""How long a setup code may be used."""
MAX_PENDING = 256
"""Requests that may wait in all."""
MAX_PENDING_PER_ADDRESS = 8
"""Requests of devices at one address that may wait: a stolen shared token must not fill the list."""
MAX_LABEL_CHARS = 64


class DeviceToken(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """What a paired device shows instead of the shared secret, for one role. It is worth nothing without the device's
    private key, which signs every connect; so it is kept as it is, and can be given again to a device that lost it.

    `generation` is that of the shared secret it was issued under ("" for none)."""

    token: str
    role: str
    scopes: tuple[str, ...]
    created_at_ms: int
    generation: str = ""
    rotated_at_ms: int | None = None
    revoked_at_ms: int | None = None
    last_used_at_ms: int | None = None


class ClientFacts(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """What a device's client says of itself, and the address it came from. `platform` and `deviceFamily` are pinned by
    the approval; nothing else decides anything."""

    client_id: str = ""
    client_mode: str = ""
    display_name: str | None = None
    platform: str | None = None
    device_family: str | None = None
    browser_origin: str | None = None
    remote_ip: str | None = None


class Pending(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """A request that waits for a person. `isRepair`: the device was paired before. `digest` names what an approval
    grants: an approval that quotes it fails when the request has changed since it was looked at."""

    request_id: str
    device_id: str
    public_key: str
    role: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    ts: int
    digest: str
    display_name: str | None = None
    platform: str | None = None
    device_family: str | None = None
    client_id: str | None = None
    client_mode: str | None = None
    browser_origin: str | None = None
    remote_ip: str | None = None
    is_repair: bool = False
    refreshed_at_ms: int | None = None
    reason: str = "not-paired"

    @property
    def expires_at_ms(self) -> int:
        """When it is too late to approve it."""
        return (self.refreshed_at_ms or self.ts) + PENDING_TTL_MS


class Device(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """A paired device. `scopes` is the ceiling: what was approved, and so the most a token of it may have.
    `approvedVia` is owner (a person approved a request) or setup-code."""

    device_id: str
    public_key: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    created_at_ms: int
    approved_at_ms: int
    approved_via: str
    approved_by: str = ""
    display_name: str | None = None
    operator_label: str | None = None
    platform: str | None = None
    device_family: str | None = None
    client_id: str | None = None
    client_mode: str | None = None
    browser_origin: str | None = None
    remote_ip: str | None = None
    tokens: tuple[DeviceToken, ...] = ()
    last_seen_at_ms: int | None = None
    last_seen_reason: str | None = None

    def token(self, role: str) -> DeviceToken | None:
        """Its token for `role` that has not been revoked."""
        return next((one for one in self.tokens if one.role == role and one.revoked_at_ms is None), None)


class SetupCode(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """An operator's approval given beforehand: whoever shows its token first is paired with these roles and scopes, and
    from then on it is bound to that device. `boundTo` is that device's id, `usedAtMs` when its hello was delivered."""

    setup_id: str
    token_hash: str
    profile: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    created_at_ms: int
    expires_at_ms: int
    created_by: str = ""
    bound_to: str | None = None
    used_at_ms: int | None = None

    def is_current(self, now_ms: float) -> bool:
        """Whether it may be used by its time. One from the future is from before the clock was put back."""
        return self.created_at_ms - SETUP_TTL_MS <= now_ms < self.expires_at_ms


class AuditLine(msgspec.Struct, frozen=True):
    """What happened at the outer door. `who` did it, `device` and `address` it was about, `conn` is the connection's
    id, `rule` what decided. `detail` is flat and holds no secret."""

    event: str
    rule: str = ""
    device: str = ""
    address: str = ""
    who: str = ""
    conn: str = ""
    detail: dict[str, Any] = msgspec.field(default_factory=dict)


def digest_of(device_id: str, public_key: str, roles: tuple[str, ...], scopes: tuple[str, ...]) -> str:
    """Sixteen hexadecimal digits that stand for what an approval would grant to whom."""
    words = "\n".join((device_id, public_key, ",".join(sorted(roles)), ",".join(sorted(scopes))))
    return hashlib.sha256(words.encode()).hexdigest()[:16]
