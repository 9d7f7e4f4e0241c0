"""Every way OpenClaw 2026.9.6 was knocked at, over loopback with `auth.mode: token`, and what it answered.

Owns that table, restated from observed conversations: what is said, and the fields of the answer and of the Close frame
behind it. `tests.compat.differences` says where we answer otherwise, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.compat.outcome import Fields

READ, WRITE, ADMIN, PAIRING = "operator.read", "operator.write", "operator.admin", "operator.pairing"
ALL = (ADMIN, READ, WRITE, PAIRING)

CLI, BACKEND, TUI = ("cli", "cli"), ("gateway-client", "backend"), ("openclaw-tui", "ui")
UI, WEBCHAT, NODE = ("openclaw-control-ui", "webchat"), ("webchat-ui", "webchat"), ("node-host", "node")
RIGHT = "<right>"
"""Stands for the shared token."""
OUR_PAGE, THEIR_PAGE = "http://ui.example:8080", "http://evil.example"
"""An Origin on the list of `gateway.controlUi.allowedOrigins`, and one that is not."""


@dataclass(frozen=True)
class Case:
    """One knock. `device`: its key is used (`spoil`: what of its proof is spoilt); `approved`: what a person had
    approved before. `raw`: said instead of connect. `theirs`: what OpenClaw answered."""

    name: str
    theirs: Fields
    client: tuple[str, str] = CLI
    scopes: tuple[str, ...] = (READ,)
    auth: Mapping[str, str] = field(default_factory=lambda: {"token": RIGHT})
    device: bool = False
    approved: tuple[str, ...] | None = None
    spoil: str = ""
    role: str = "operator"
    protocol: tuple[int, int] = (4, 4)
    more: Mapping[str, Any] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes = b""


def greeted(*scopes: str, token: bool = False, role: str = "operator") -> Fields:
    """hello-ok by the shared token; with a device's own token where one is handed out."""
    fields: Fields = {"ok": True, "auth.method": "token", "auth.role": role, "auth.scopes": list(scopes)}
    if role == "operator":
        fields["auth.recoveryScope"] = "<hash>"
    if token:
        fields |= {"auth.deviceToken": "<token>", "auth.issuedAtMs": "<ms>"}
        fields |= {"auth.recoveryMigrationAllowed": True} if role == "operator" else {}
    return fields


def refused(
    message: str,
    details_code: str = "",
    details: Fields | None = None,
    *,
    code: str = "INVALID_REQUEST",
    close: int = 1008,
) -> Fields:
    """An error, and the Close frame that repeats its text."""
    fields: Fields = {"ok": False, "error.code": code, "error.message": message}
    fields |= {"error.details.code": details_code} if details_code else {}
    fields |= {f"error.details.{name}": value for name, value in (details or {}).items()}
    return fields | {"close.code": close, "close.reason": message}


def closed(code: int, reason: str) -> Fields:
    """A Close frame without a word before it."""
    return {"close.code": code, "close.reason": reason}


def unauthorized(about: str, code: str, reason: str, step: str, *, retry: bool = False) -> Fields:
    """A secret that is not right."""
    more: Fields = {"authReason": reason, "canRetryWithDeviceToken": retry, "recommendedNextStep": step}
    return refused(f"unauthorized: {about}", code, more)


def proof(about: str, code: str, reason: str) -> Fields:
    """A device's proof that does not hold."""
    return refused(f"device {about}", f"DEVICE_AUTH_{code}", {"reason": reason})


def protocol_mismatch(low: int, high: int) -> Fields:
    """A client of another time."""
    about: Fields = {"clientMinProtocol": low, "clientMaxProtocol": high}
    about |= {"expectedProtocol": 4, "minimumProbeProtocol": 3}
    return refused("protocol mismatch", "PROTOCOL_MISMATCH", about, close=1002)


def bad_params(where: str) -> Fields:
    """Parameters of connect that the schema does not know."""
    return refused(f"invalid connect params: at {where}")


_HINT = "(use this gateway's gateway.auth.token or pair the device)"
_NEEDS_DEVICE = refused(
    "control ui requires device identity (use HTTPS or localhost secure context)", "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"
)
_ORIGIN = (
    "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)"
)

CASES = (
    Case("backend without device", greeted(*ALL), BACKEND, ALL),
    Case("backend that does not wait for the challenge", greeted(*ALL), BACKEND, ALL, spoil="hasty"),
    Case("backend with device", greeted(*ALL), BACKEND, ALL, device=True),
    Case("cli without device", greeted(*ALL), CLI, ALL),
    Case("cli with device", greeted(READ, token=True), device=True),
    Case("cli with device, signature v2", greeted(READ, token=True), device=True, approved=(READ,), spoil="v2"),
    Case("cli, more scopes than approved", greeted(*ALL, token=True), CLI, ALL, device=True, approved=(READ,)),
    Case("test client without device", greeted(), ("test", "test")),
    Case("tui without device", _NEEDS_DEVICE, TUI),
    Case("tui with device", greeted(*ALL, token=True), TUI, ALL, device=True),
    Case("control ui without device", _NEEDS_DEVICE, UI),
    Case(
        "web page of another build, with device",
        refused(
            "protocol mismatch: Control UI updated; reload this page to continue", "PROTOCOL_MISMATCH",
            {"gatewayBuildId": "<build>", "reloadRequired": True}, code="UNAVAILABLE",
        ) | {"error.retryable": False},
        WEBCHAT, device=True, headers=(("Origin", OUR_PAGE),),
    ),
    Case(
        "control ui from a page elsewhere",
        refused(_ORIGIN, "CONTROL_UI_ORIGIN_NOT_ALLOWED", {"reason": "origin not allowed"}),
        UI, device=True, headers=(("Origin", THEIR_PAGE),),
    ),
    Case(
        "wrong token without device",
        unauthorized(
            f"gateway token mismatch {_HINT}", "AUTH_TOKEN_MISMATCH", "token_mismatch", "update_auth_credentials"
        ),
        auth={"token": "wrong"},
    ),
    Case(
        "wrong token with device",
        unauthorized(
            f"gateway token mismatch {_HINT}", "AUTH_TOKEN_MISMATCH", "token_mismatch", "retry_with_device_token",
            retry=True,
        ),
        auth={"token": "wrong"}, device=True,
    ),
    Case("no secret, no device", refused("device identity required", "DEVICE_IDENTITY_REQUIRED", code="NOT_PAIRED"),
         auth={}),
    Case(
        "device without secret",
        unauthorized(
            f"gateway token missing {_HINT}", "AUTH_TOKEN_MISSING", "token_missing", "update_auth_configuration"
        ),
        auth={}, device=True,
    ),
    Case(
        "device with a wrong token of its own",
        unauthorized(
            "device token mismatch (rotate/reissue device token)", "AUTH_DEVICE_TOKEN_MISMATCH",
            "device_token_mismatch", "update_auth_credentials",
        ),
        auth={"deviceToken": "wrong"}, device=True,
    ),
    Case("protocol 3 alone", protocol_mismatch(3, 3), protocol=(3, 3)),
    Case("protocol 3 to 4", greeted(READ), protocol=(3, 4)),
    Case("protocol 5 to 6", protocol_mismatch(5, 6), protocol=(5, 6)),
    Case("another role", refused("invalid role"), role="king"),
    Case("another client id", bad_params("/client/id: must be equal to one of the allowed values"), ("mine", "cli")),
    Case("another client mode", bad_params("/client/mode: must be equal to one of the allowed values"), ("cli", "my")),
    Case("an unknown parameter", bad_params("root: unexpected property 'foo'"), more={"foo": 1}),
    Case("token in the password's place", greeted(*ALL), CLI, ALL, auth={"password": RIGHT}),
    Case("node with device", greeted(role="node", token=True), NODE, (), device=True, role="node"),
    Case("Host of somebody else, with device", greeted(*ALL, token=True), CLI, ALL, device=True,
         headers=(("Host", "evil.example"),)),
    Case("Host of somebody else, backend without device", greeted(*ALL), BACKEND, ALL,
         headers=(("Host", "evil.example"),)),
    Case("signature of another key", proof("signature invalid", "SIGNATURE_INVALID", "device-signature"), device=True,
         spoil="signature"),
    Case("nonce of another connection", proof("nonce mismatch", "NONCE_MISMATCH", "device-nonce-mismatch"),
         device=True, spoil="nonce"),
    Case("empty nonce", proof("nonce required", "NONCE_REQUIRED", "device-nonce-missing"), device=True,
         spoil="no nonce"),
    Case("id of another key", proof("identity mismatch", "DEVICE_ID_MISMATCH", "device-id-mismatch"), device=True,
         spoil="id"),
    Case("signed too long ago", proof("signature expired", "SIGNATURE_EXPIRED", "device-signature-stale"),
         device=True, spoil="time"),
    Case("public key in standard base64", greeted(READ, token=True), device=True, approved=(READ,), spoil="base64"),
    Case("not JSON", closed(1000, ""), raw=b"this is not JSON"),
    Case("a request before connect", refused("invalid handshake: first request must be connect"),
         raw=b'{"type":"req","id":"1","method":"health"}'),
    Case("more than 64 KiB before hello", closed(1009, ""), raw=b'{"type":"req","method":"%s"}' % (b"x" * 70_000)),
    Case("JSON that is no request", closed(1008, "invalid request frame"), raw=b'{"type":"ping"}'),
)  # fmt: skip

SAID_LATER: tuple[tuple[bytes, Fields], ...] = (
    (b'{"type":"req","id":"9","method":"health","bogus":1}',
     {"id": "9", "error.message": "invalid request frame: at root: unexpected property 'bogus'"}),
    (b'{"type":"event","event":"x"}',
     {"id": "invalid", "error.message": "invalid request frame: must have required property 'id'; "
      "at root: unexpected property 'event'; at /type: must be equal to constant"}),
    (b'{"type":"req","id":"","method":"health"}',
     {"id": "", "error.message": "invalid request frame: at /id: must not have fewer than 1 characters"}),
    (b'{"type":"req","id":"10","method":"sessions.list","params":{"nope":1}}',
     {"id": "10", "error.message": "invalid sessions.list params: at root: unexpected property 'nope'"}),
    (b'{"type":"req","id":"11","method":"connect","params":{}}',
     {"id": "11", "error.message": "connect is only valid as the first request"}),
)  # fmt: skip
"""What a greeted client with operator.read says wrongly, and the answer; each is INVALID_REQUEST, and it stays
connected."""

FORBIDDEN = ("device.pair.list", "device.pair.approve")
"""What the same client may not call: FORBIDDEN, `missing scope: operator.pairing`, with the scope in its details."""


def missing_scope(scope: str) -> Fields:
    """The error of a call that needs more."""
    return {
        "error.code": "FORBIDDEN", "error.message": f"missing scope: {scope}", "error.details.code": "MISSING_SCOPE",
        "error.details.missingScope": scope, "error.details.requiredScopes": [scope],
    }  # fmt: skip
