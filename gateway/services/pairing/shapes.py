"""What clients and people see of requests and devices. Pure.

Owns what is shown: never a token; the fields of OpenClaw's events and nothing else, because its clients refuse
others."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.protocol.devices import Device, DeviceToken, Pending

_OURS = ("digest", "reason")


def event(one: Pending) -> dict[str, Any]:
    """A request as the event device.pair.requested tells it."""
    told: dict[str, Any] = msgspec.to_builtins(one)
    for name in _OURS:
        told.pop(name, None)
    return {**told, "silent": False, "isRepair": one.is_repair}


def request(one: Pending) -> dict[str, Any]:
    """A request as device.pair.list tells it: also the digest an approval may quote, why it waits, and until when."""
    return {**event(one), "digest": one.digest, "reason": one.reason, "expiresAtMs": one.expires_at_ms}


def device(one: Device, *, connected: bool | None = None) -> dict[str, Any]:
    """A paired device; its tokens without the secret."""
    told: dict[str, Any] = msgspec.to_builtins(one)
    told.pop("approvedBy", None)
    told |= {"role": one.roles[0] if one.roles else "", "roles": list(one.roles), "scopes": list(one.scopes)}
    if connected is not None:
        told["connected"] = connected
    told["tokens"] = [_token(token) for token in sorted(one.tokens, key=lambda token: token.role)]
    return told


def _token(one: DeviceToken) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(one)
    for name in ("token", "generation"):
        told.pop(name, None)
    return told


def notice(waiting: int) -> tuple[str, str]:
    """What everybody who may read is told when another request waits, and the command that lists them: nothing of a
    device, which is for those who may decide."""
    told = "1 pairing request waits" if waiting == 1 else f"{waiting} pairing requests wait"
    return f"{told} for an operator", "peergate devices list"


def announcement(one: Pending) -> tuple[str, str]:
    """What the log says of a new request, and the command that grants it."""
    name = f' "{one.display_name}"' if one.display_name else ""
    kind = ", ".join(part for part in (one.platform, one.client_id, one.client_mode) if part)
    wants = " and ".join(one.roles) + (f" with {', '.join(one.scopes)}" if one.scopes else "")
    told = f"device {one.device_id[:12]}{name} ({kind or 'says nothing of itself'}) at {one.remote_ip or 'unknown'}"
    return f"{told} asks to be paired as {wants}", f"peergate devices approve {one.request_id}"
