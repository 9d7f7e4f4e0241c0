"""Which secret a remote client knows, and the words it is told when it knows none. Pure.

Owns the comparison (constant time, on UTF-8) and the table of reasons: code, sentence, what to do next. The first words
of each sentence are OpenClaw's (2026.9.6, auth-messages), because its clients look for them; what stands in parentheses
is ours and says what would let this client in. A secret opens the door to asking for pairing, never the door itself."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from gateway.protocol.calls.system import ConnectAuth
from gateway.protocol.devices import Device, SetupCode
from gateway.protocol.errors import ErrorCode, ErrorShape
from gateway.protocol.scopes import uncovered

Mode = Literal["token", "password", "none", "trusted-proxy"]

RATE_LIMITED = "rate_limited"
DEVICE_TOKEN_MISMATCH, SCOPE_MISMATCH = "device_token_mismatch", "scope_mismatch"
BOOTSTRAP_INVALID = "bootstrap_token_invalid"
NOT_AN_OPERATOR = "local_process_not_operator"
"""Mode none, and the process at the other end is on this machine and no operator's."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The shared secret as configured; empty is none."""

    mode: Mode
    token: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def generation(self) -> str:
        """Names the secret without telling it: changes when it changes. Short, so that a weak password cannot be found
        from it."""
        words = f"peergate shared secret\n{self.mode}\n{self.token}\n{self.password}"
        return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:8]


class Shown(msgspec.Struct, frozen=True):
    """What came of the shared secret: `method` is what hello-ok calls it; `reason` is empty when it was right. `given`:
    the client showed something."""

    method: str
    reason: str = ""
    given: bool = False

    @property
    def ok(self) -> bool:
        """Whether it was right."""
        return not self.reason


def same(shown: str, real: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), real.encode("utf-8", "surrogatepass"))


def check_shared(secrets: Secrets, auth: ConnectAuth | None) -> Shown:
    """What the client's token or password is worth in modes token, password and none. It may stand in either field; the
    field named like the mode counts first. (Mode trusted-proxy: `proxies.check_user`.)"""
    if secrets.mode == "none":
        return Shown("none")
    token, password = (auth.token, auth.password) if auth else (None, None)
    if secrets.mode == "password":
        return _compare("password", password or token, secrets.password)
    return _compare("token", token or password, secrets.token)


def _compare(method: str, shown: str | None, real: str) -> Shown:
    given = bool(shown)
    if not real:
        return Shown(method, f"{method}_missing_config", given)
    if not shown:
        return Shown(method, f"{method}_missing", given)
    return Shown(method, "" if same(shown, real) else f"{method}_mismatch", given)


def device_token_candidate(auth: ConnectAuth | None) -> tuple[str, bool]:
    """What may be a device token, and whether it was said to be one: it may stand where the shared token goes."""
    if auth is None:
        return "", False
    if auth.device_token:
        return auth.device_token, True
    return auth.token or "", False


def check_device_token(
    device: Device | None, role: str, shown: str, wanted: Sequence[str], generation: str
) -> Literal["", "device_token_mismatch", "scope_mismatch"]:
    """What a device token is worth for this device, role and these scopes; empty when it is right. `generation` is that
    of the shared secret now in force: a token issued under an older one is worth nothing."""
    token = device.token(role) if device is not None else None
    # Compared in every case, so that the time does not tell whether such a device is paired.
    equal = same(shown, token.token if token else "")
    if device is None or token is None or not equal or not shown or role not in device.roles:
        return "device_token_mismatch"
    if token.generation and token.generation != generation:
        return "device_token_mismatch"
    if uncovered(wanted, token.scopes) or uncovered(token.scopes, device.scopes):
        return "scope_mismatch"
    return ""


def check_setup(setup: SetupCode | None, device_id: str, device: Device | None, role: str, now_ms: int) -> bool:
    """Whether this setup code admits this device in this role: not expired and not used. The device that used it may
    show it again (our answer may have been lost) for as long as it stays paired in this role: what was taken from it
    since, the code does not give back."""
    if setup is None or not setup.is_current(now_ms) or role not in setup.roles:
        return False
    if setup.bound_to is None and setup.used_at_ms is None:
        return True
    still_paired = device is not None and role in device.roles and device.token(role) is not None
    return setup.bound_to == device_id and still_paired


# --- what the client is told ------------------------------------------------------------------------------------------

_CONFIGURE, _CORRECT = "update_auth_configuration", "update_auth_credentials"
_REVIEW, _WAIT, _RETRY = "review_auth_configuration", "wait_then_retry", "retry_with_device_token"

# reason: (details.code, sentence, recommendedNextStep)
_REASONS: dict[str, tuple[str, str, str]] = {
    "token_missing": (
        "AUTH_TOKEN_MISSING", "gateway token missing (give --token, or a setup code from `peergate qr`)", _CONFIGURE,
    ),
    "token_mismatch": (
        "AUTH_TOKEN_MISMATCH", "gateway token mismatch (use this gateway's gateway.auth.token)", _CORRECT,
    ),
    "token_missing_config": (
        "AUTH_TOKEN_NOT_CONFIGURED",
        "gateway token not configured on gateway (set gateway.auth.token, or remove it for a generated one)",
        _CONFIGURE,
    ),
    "password_missing": (
        "AUTH_PASSWORD_MISSING", "gateway password missing (give --password, or a setup code from `peergate qr`)",
        _CONFIGURE,
    ),
    "password_mismatch": (
        "AUTH_PASSWORD_MISMATCH", "gateway password mismatch (use this gateway's gateway.auth.password)", _CORRECT,
    ),
    "password_missing_config": (
        "AUTH_PASSWORD_NOT_CONFIGURED", "gateway password not configured on gateway (set gateway.auth.password)",
        _CONFIGURE,
    ),
    BOOTSTRAP_INVALID: (
        "AUTH_BOOTSTRAP_TOKEN_INVALID", "bootstrap token invalid or expired (make a setup code with `peergate qr`)",
        _CORRECT,
    ),
    DEVICE_TOKEN_MISMATCH: (
        "AUTH_DEVICE_TOKEN_MISMATCH", "device token mismatch (rotate/reissue device token)", _CORRECT,
    ),
    SCOPE_MISMATCH: (
        "AUTH_SCOPE_MISMATCH", "device token scope mismatch (re-pair or approve scope upgrade)", _REVIEW,
    ),
    RATE_LIMITED: ("AUTH_RATE_LIMITED", "too many failed authentication attempts (retry later)", _WAIT),
    NOT_AN_OPERATOR: (
        "AUTH_UNAUTHORIZED",
        "mode none admits only operators' processes on this machine (add its uid to gateway.unix.operators)",
        _REVIEW,
    ),
}  # fmt: skip

# reasons of mode trusted-proxy: what would have to change
_PROXY_FIXES = {
    "trusted_proxy_config_missing": "set gateway.auth.trustedProxy",
    "trusted_proxy_no_proxies_configured": "set gateway.trustedProxies",
    "trusted_proxy_untrusted_source": "connect through a proxy of gateway.trustedProxies",
    "trusted_proxy_loopback_source": "set gateway.auth.trustedProxy.allowLoopback and proxyUids",
    "trusted_proxy_local_interface_source": "the proxy must not run on this machine's own addresses",
    "trusted_proxy_user_missing": "the proxy must send gateway.auth.trustedProxy.userHeader, once",
    "trusted_proxy_user_not_allowed": "add the user to gateway.auth.trustedProxy.allowUsers",
}
_MISSING_HEADER = "trusted_proxy_missing_header_"


def unauthorized(reason: str, *, may_retry_with_device: bool = False, retry_after_ms: int | None = None) -> ErrorShape:
    """The error for one of the reasons above. `may_retry_with_device`: the client has a device and showed nothing but a
    shared token, so its stored device token is worth a try."""
    code, sentence, step = _words_for(reason)
    may_retry = may_retry_with_device and reason == "token_mismatch"
    details: dict[str, object] = {
        "code": code,
        "authReason": reason,
        "canRetryWithDeviceToken": may_retry,
        "recommendedNextStep": _RETRY if may_retry else step,
    }
    message = f"unauthorized: {sentence}" if sentence else "unauthorized"
    waits = reason == RATE_LIMITED
    if waits:
        details |= {"retryable": True, "retryAfterMs": retry_after_ms or 0}
    return ErrorShape(ErrorCode.INVALID_REQUEST, message, details, waits, retry_after_ms if waits else None)


def _words_for(reason: str) -> tuple[str, str, str]:
    if reason in _REASONS:
        return _REASONS[reason]
    if reason.startswith(_MISSING_HEADER):
        header = reason.removeprefix(_MISSING_HEADER)
        return "AUTH_IDENTITY_HEADER_REQUIRED", f"identity header missing (the proxy must send {header})", _REVIEW
    fix = _PROXY_FIXES.get(reason)
    return "AUTH_UNAUTHORIZED", f"trusted proxy required ({fix})" if fix else "", _REVIEW
