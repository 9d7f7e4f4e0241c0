"""What a client without an approval is told, and what is kept of what it says of itself. Pure.

Owns the texts of NOT_PAIRED (OpenClaw 2026.9.6, connect-device-pairing) and the pins: platform and device family, which
an approval holds to. Everything a client says is cut and stripped of what does not print before it is kept, because it
is shown to people in terminals."""

from __future__ import annotations

from gateway.auth.picture import Ask
from gateway.auth.proof import normalise
from gateway.protocol.calls.system import Connect
from gateway.protocol.devices import ClientFacts
from gateway.protocol.errors import ErrorCode, ErrorShape

MAX_WORDS = 128
"""Characters kept of anything a client says of itself."""
MAX_CLOSE_BYTES = 120
"""Of the text in a Close frame (RFC 6455 section 5.5 leaves 123 of them)."""

# reason: (what is required, what a person has to do)
_REASONS = {
    "not-paired": ("device is not approved yet", "Approve this device from the pending pairing requests"),
    "role-upgrade": (
        "device is asking for a higher role than currently approved",
        "Review the requested role, then approve the pending upgrade",
    ),
    "scope-upgrade": (
        "device is asking for more scopes than currently approved",
        "Review the requested scopes, then approve the pending upgrade",
    ),
    "metadata-upgrade": (
        "device identity changed and must be re-approved",
        "Review the refreshed device details, then approve the pending request",
    ),
}
# An update of these changes the number behind the name, and is no other device.
_VERSIONED = ("android", "ios", "ipados", "macos", "watchos")
_ALIASES = {"darwin": "macos", "win32": "windows"}


def pairing_required(ask: Ask, request_id: str) -> ErrorShape:
    """The error for a client whose request `request_id` now waits for a person."""
    requirement, hint = _REASONS[ask.reason]
    details: dict[str, object] = {
        "code": "PAIRING_REQUIRED",
        "reason": ask.reason,
        "requestId": request_id,
        "remediationHint": f"{hint}: peergate devices approve {request_id}",
        "deviceId": ask.proven.device_id,
        "requestedRole": ask.role,
        "requestedScopes": list(ask.scopes),
    }
    if ask.device is not None:
        details |= {"approvedRoles": list(ask.device.roles), "approvedScopes": list(ask.device.scopes)}
    return ErrorShape(ErrorCode.NOT_PAIRED.value, f"pairing required: {requirement}", details)


def asked_about(ask: Ask, facts: ClientFacts) -> dict[str, object]:
    """What the audit keeps of a request: what was asked, what is approved, and which pins do not fit."""
    about: dict[str, object] = {
        "auth": ask.method, "client": facts.client_id, "role": ask.role, "scopesTo": list(ask.scopes),
    }  # fmt: skip
    if ask.device is None:
        return about
    about |= {"roleFrom": list(ask.device.roles), "scopesFrom": list(ask.device.scopes)}
    if ask.reason == "metadata-upgrade":
        about |= {
            "payload": f"v{ask.proven.version}",
            "claimedPlatform": facts.platform,
            "pinnedPlatform": ask.device.platform,
            "claimedDeviceFamily": facts.device_family,
            "pinnedDeviceFamily": ask.device.device_family,
        }
    return about


def close_text(shape: ErrorShape) -> str:
    """What the Close frame says; clients that did not read the error find the request here."""
    request = (shape.details or {}).get("requestId")
    text = f"{shape.message} (requestId: {request})" if request else shape.message
    return text.encode()[:MAX_CLOSE_BYTES].decode(errors="ignore")


def facts_of(connect: Connect, address: str = "", origin: str | None = None) -> ClientFacts:
    """What is kept about a device's client. `address` is ours to say, the rest is the client's."""
    client = connect.client
    return ClientFacts(
        client_id=clean(client.id),
        client_mode=clean(client.mode),
        display_name=clean(client.display_name) or None,
        platform=clean(client.platform) or None,
        device_family=clean(client.device_family) or None,
        browser_origin=clean(origin) or None,
        remote_ip=address or None,
    )


def clean(text: str | None) -> str:
    """Text of a client's, as far as it prints; control and direction characters would act on a terminal."""
    return "".join(one for one in (text or "")[:MAX_WORDS] if one.isprintable()).strip()


def pin_of(text: str | None) -> str:
    """A platform or device family as it is pinned: other words than these are another device."""
    plain = normalise(clean(text))
    name = plain.partition(" ")[0]
    return name if name in _VERSIONED else _ALIASES.get(plain, plain)
