"""Setup codes: an operator's approval given beforehand, and the code a person carries to the device.

Owns when a code is good, and its text. The token is known to the code and to the device alone: here is its hash."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from gateway.auth.principal import Principal
from gateway.protocol.devices import OPERATOR_ROLE, SETUP_TTL_MS, AuditLine, Device, DeviceToken, SetupCode
from gateway.protocol.errors import Refusal, invalid, unavailable
from gateway.protocol.scopes import ADMIN, uncovered
from gateway.services.pairing import rules
from gateway.services.pairing.changes import CodeKept, Noted, Paired, Step, denied
from gateway.services.pairing.requests import MAX_DEVICES, forget_at
from gateway.services.pairing.rules import Wish
from gateway.store import audit, devices

MAX_CODES = 256
"""Setup codes that are remembered at once."""
MAX_URLS, MAX_URL_CHARS = 8, 1000
INVALID = "AUTH_BOOTSTRAP_TOKEN_INVALID"


class Code(msgspec.Struct, frozen=True):
    """What `device.pair.setupCode` gives away once: `token` is not kept anywhere."""

    record: SetupCode
    token: str


def hash_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def good(code: SetupCode | None, now: float, device_id: str | None = None) -> bool:
    """Whether a code may be used: not too old, and by nobody but the device that used it first."""
    return (
        code is not None
        and code.is_current(now)
        and (code.bound_to is None or device_id is None or code.bound_to == device_id)
    )


def create(db: sqlite3.Connection, profile: str, by: Principal, token: str, now: int) -> Step[Code]:
    """A new code. Raises Refusal: only an administrator grants beforehand."""
    if profile not in rules.PROFILES:
        raise invalid(f"there is no profile {profile}; there are {', '.join(rules.PROFILES)}")
    if not by.may(ADMIN) or by.bound:
        raise denied(f"missing scope: {ADMIN}", "setup-code-requires-admin", missingScope=ADMIN)
    if devices.count_codes(db) >= MAX_CODES:
        raise unavailable(f"{MAX_CODES} setup codes are open or just used; wait until some have expired", 60_000)
    roles, scopes = rules.PROFILES[profile]
    record = SetupCode(str(uuid.uuid4()), hash_of(token), profile, roles, scopes, now, now + SETUP_TTL_MS, by.name)
    devices.put_code(db, record, forget_at(now))
    detail = {"setup": record.setup_id, "profile": profile, "roles": list(roles), "scopes": list(scopes)}
    line = AuditLine("device.setup.created", "owner", "", "", by.name, "", detail)
    audit.add(db, now, line)
    return Step(Code(record, token), [Noted(line), CodeKept(record)])


def redeem(
    db: sqlite3.Connection, token_hash: str, asked: Wish, now: int, new_token: Callable[[], str]
) -> Step[tuple[Device, list[DeviceToken]]]:
    """Pair the device that shows a code. From then on the code is that device's: the same one, which may have lost our
    answer, gets the same answer until the code expires. Raises Refusal."""
    code = devices.code(db, token_hash)
    if code is None or not good(code, now, asked.device_id):
        raise _bad("setup-code-unknown-expired-or-used")
    if asked.role not in code.roles or (asked.role == OPERATOR_ROLE and uncovered(asked.scopes, code.scopes)):
        raise _bad("setup-code-profile", setup=code.setup_id)
    existing = devices.device(db, asked.device_id)
    if code.bound_to is not None:
        if existing is None:
            raise _bad("setup-code-used", setup=code.setup_id)
        return Step((existing, _tokens(existing, code)))
    if existing is None and devices.count_devices(db) >= MAX_DEVICES:
        raise unavailable(f"{MAX_DEVICES} devices are paired, more are not kept: peergate devices remove ID")
    device = rules.redeemed(existing, asked, code, now, new_token)
    used = replace(code, bound_to=asked.device_id, used_at_ms=now)
    devices.put_device(db, device)
    devices.put_code(db, used, forget_at(code.created_at_ms))
    detail = {"setup": code.setup_id, "profile": code.profile, "roles": list(code.roles), "scopes": list(code.scopes)}
    line = AuditLine(
        "device.setup.used", "setup-code", asked.device_id, asked.facts.remote_ip or "", code.created_by, "", detail
    )
    audit.add(db, now, line)
    return Step((device, _tokens(device, code)), [Noted(line), CodeKept(used), Paired(device, "paired")])


def _tokens(device: Device, code: SetupCode) -> list[DeviceToken]:
    return [token for role in code.roles if (token := device.token(role)) is not None]


def _bad(rule: str, **details: object) -> Refusal:
    return denied("unauthorized: bootstrap token invalid or expired", rule, code=INVALID, **details)


# --- the text -------------------------------------------------------------------------------------------------------


def text_of(code: Code, urls: Sequence[str], fingerprint: str | None) -> str:
    """The code a device scans or a person types: base64url of JSON, as OpenClaw's apps read it."""
    told: dict[str, object] = {"url": urls[0], "bootstrapToken": code.token, "expiresAtMs": code.record.expires_at_ms}
    if len(urls) > 1:
        told["urls"] = list(urls[:MAX_URLS])
    if fingerprint and any(url.startswith("wss:") for url in urls):
        told["tlsFingerprint"] = fingerprint
    return base64.urlsafe_b64encode(msgspec.json.encode(told)).decode().rstrip("=")


def profile_for(wanted: str, urls: Sequence[str]) -> str:
    """The profile a code gets: full access is only given where nobody reads along (wss, or this machine)."""
    protected = all(is_protected(url) for url in urls)
    return wanted if protected or ADMIN not in rules.PROFILES[wanted][1] else "limited"


def access_of(profile: str) -> str:
    """What people are told of a profile: full, limited or node."""
    roles, scopes = rules.PROFILES[profile]
    return "full" if ADMIN in scopes else "limited" if OPERATOR_ROLE in roles else "node"


def gateway_url(text: str) -> str:
    """An address a person gave, as ws:// or wss://. Raises Refusal: what is said in the clear may only go where nobody
    else listens."""
    given = text.strip()
    wrong = invalid(f"{given[:200]} is no address of a gateway; one looks like wss://host:18789")
    try:
        parts = urlsplit(given if "://" in given else f"wss://{given}")
        port = parts.port
    except ValueError:
        raise wrong from None
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname or parts.username or parts.password:
        raise wrong
    if len(given) > MAX_URL_CHARS:
        raise wrong
    if scheme == "ws" and not _may_be_plain(parts.hostname):
        raise invalid(f"{given[:200]}: beyond this machine and private networks only wss:// is allowed")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def is_protected(url: str) -> bool:
    """Whether what goes there cannot be read on the way."""
    host = urlsplit(url).hostname or ""
    return url.startswith("wss:") or host == "localhost" or _address(host, "is_loopback")


def _may_be_plain(host: str) -> bool:
    return (
        host == "localhost"
        or host.endswith((".local", ".ts.net"))
        or _address(host, "is_private")
        or _address(host, "is_loopback")
        or _address(host, "is_link_local")
    )


def _address(host: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return False
