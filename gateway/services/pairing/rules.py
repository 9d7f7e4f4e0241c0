"""Who may ask, grant and take away what, and what a grant makes of a device. Pure.

Owns the rules of pairing: nobody grants what they do not have, nobody is granted more than was asked and looked at, and
a request whose grant would change is another request."""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec.structs import replace

from gateway.auth.principal import Kind, Principal
from gateway.protocol.devices import (
    NODE_ROLE,
    OPERATOR_ROLE,
    ROLES,
    ClientFacts,
    Device,
    DeviceToken,
    Pending,
    SetupCode,
    digest_of,
)
from gateway.protocol.errors import ErrorCode, Refusal, invalid
from gateway.protocol.scopes import (
    ADMIN,
    APPROVALS,
    KNOWN_SCOPES,
    PAIRING,
    QUESTIONS,
    READ,
    TALK,
    TALK_SECRETS,
    WRITE,
    uncovered,
)
from gateway.services.pairing.changes import denied

MAX_FACT_CHARS = 128
"""Of anything a client says of itself; what is longer is cut."""
REFRESH_MS = 5_000
"""A request that was refreshed so recently and says the same is not refreshed again."""
OWNERS = ("token", "password", "trusted-proxy", "none")
"""Methods that prove more than the device alone; see `manages_itself_only`."""

LIMITED = (APPROVALS, QUESTIONS, READ, TALK_SECRETS, WRITE)
PROFILES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "limited": ((NODE_ROLE, OPERATOR_ROLE), LIMITED),
    "full": ((NODE_ROLE, OPERATOR_ROLE), (ADMIN, *LIMITED)),
    "node": ((NODE_ROLE,), ()),
    "voice-node": ((NODE_ROLE, OPERATOR_ROLE), (READ, TALK)),
    "control-ui-owner": ((OPERATOR_ROLE,), (ADMIN, APPROVALS, PAIRING, QUESTIONS, READ, TALK_SECRETS, WRITE)),
}
"""What a setup code grants, by profile: roles and operator scopes (OpenClaw's)."""


class Wish(msgspec.Struct, frozen=True):
    """What a device that proved its key asks for."""

    device_id: str
    public_key: str
    role: str
    scopes: tuple[str, ...]
    facts: ClientFacts
    reason: str


def wish(device_id: str, public_key: str, role: str, scopes: Iterable[str], facts: ClientFacts, reason: str) -> Wish:
    """A wish in our words: scopes nobody here knows are left out, only an operator has scopes, texts are cut. Raises
    Refusal for a role there is not."""
    if role not in ROLES:
        raise invalid("invalid role")
    known = tuple(dict.fromkeys(one for one in scopes if one in KNOWN_SCOPES)) if role == OPERATOR_ROLE else ()
    return Wish(device_id, public_key, role, known, tidy(facts), reason)


def tidy(facts: ClientFacts) -> ClientFacts:
    """What a client says of itself, cut, and without what a terminal would obey."""

    def cut(text: str | None) -> str | None:
        if text is None:
            return None
        return harmless(text[: 4 * MAX_FACT_CHARS])[:MAX_FACT_CHARS] or None

    told = {name: cut(getattr(facts, name)) for name in facts.__struct_fields__}
    return ClientFacts(**{name: value for name, value in told.items() if value is not None})


def harmless(text: str) -> str:
    """A text without line ends and what else a terminal would obey."""
    return "".join(one for one in text if unicodedata.category(one)[0] != "C").strip()


def same_grant(waiting: Sequence[Pending], asked: Wish) -> Pending | None:
    """The one waiting request whose approval would grant all that is asked for now, to the same key: it is refreshed in
    its place. Else what waits is superseded.

    OpenClaw also refreshes a request in place that asks for more than it did; here that is another request, so that
    nobody approves by its id what they have not seen. One that comes in two roles, as its apps do, asks for each in
    turn: once both wait in one request neither makes another, or its id would be old before anybody had typed it."""
    if len(waiting) != 1:
        return None
    (one,) = waiting
    same = (one.public_key, one.browser_origin) == (asked.public_key, asked.facts.browser_origin)
    return one if same and asked.role in one.roles and not uncovered(asked.scopes, one.scopes) else None


def refreshed(one: Pending, asked: Wish, now: int) -> Pending:
    """The same request, asked again: it may wait as long as a new one, and says what the client says now."""
    return replace(one, refreshed_at_ms=now, reason=asked.reason, **_said(asked.facts))


def is_fresh(one: Pending, asked: Wish, now: int) -> bool:
    """Whether a refresh would change next to nothing: a client that asks in a loop costs no write."""
    last = one.refreshed_at_ms or one.ts
    return now - last < REFRESH_MS and refreshed(one, asked, last) == replace(one, refreshed_at_ms=last)


def merged(waiting: Sequence[Pending], asked: Wish, request_id: str, *, known: bool, now: int) -> Pending:
    """One request for all that a device asks for; `known` when it was paired before."""
    earlier = [one for one in waiting if one.public_key == asked.public_key]
    roles = union(*(one.roles for one in earlier), (asked.role,))
    scopes = union(*(one.scopes for one in earlier), asked.scopes)
    digest = digest_of(asked.device_id, asked.public_key, roles, scopes)
    one = Pending(
        request_id, asked.device_id, asked.public_key, asked.role, roles, scopes, now, digest, is_repair=known,
        reason=asked.reason,
    )  # fmt: skip
    return replace(one, **_said(asked.facts))


def _said(facts: ClientFacts) -> dict[str, str | None]:
    return {
        "display_name": facts.display_name, "platform": facts.platform, "device_family": facts.device_family,
        "client_id": facts.client_id or None, "client_mode": facts.client_mode or None,
        "browser_origin": facts.browser_origin, "remote_ip": facts.remote_ip,
    }  # fmt: skip


def union(*parts: Iterable[str]) -> tuple[str, ...]:
    """All of them once, in order."""
    return tuple(dict.fromkeys(one for part in parts for one in part))


def address_key(remote_ip: str | None) -> str:
    """Under which address a request counts: one IPv6 customer has a whole network of 64 bits."""
    try:
        address = ipaddress.ip_address(remote_ip or "")
    except ValueError:
        return remote_ip or "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


# --- who may --------------------------------------------------------------------------------------------------------


def manages_itself_only(by: Principal) -> bool:
    """A device that showed no more than its own token, and is no administrator: it sees and manages itself alone. Who
    also showed the shared secret may do what its scopes allow."""
    return by.kind is Kind.DEVICE and not by.may(ADMIN) and by.method not in OWNERS


def check_manages(by: Principal, device_id: str, denial: str, roles: Iterable[str] = ()) -> None:
    """Raises Refusal when `by` may not touch this device, or one of these roles of it."""
    if by.bound:
        raise denied(denial, "not-an-operator")
    if manages_itself_only(by) and by.device != device_id:
        raise denied(denial, "device-ownership-mismatch")
    if not by.may(ADMIN) and any(role != OPERATOR_ROLE for role in roles):
        raise denied(denial, "role-management-requires-admin")


def check_may_grant(by: Principal, roles: Iterable[str], scopes: Iterable[str]) -> None:
    """Raises Refusal when somebody would grant what they do not have."""
    if not by.may(ADMIN) and any(role != OPERATOR_ROLE for role in roles):
        raise denied(f"missing scope: {ADMIN}", "role-management-requires-admin", missingScope=ADMIN)
    for scope in uncovered(scopes, by.scopes):
        raise denied(f"missing scope: {scope}", "caller-missing-scope", missingScope=scope)


# --- what a grant makes of a device ---------------------------------------------------------------------------------


def granted(existing: Device | None, one: Pending, by: str, now: int, new_token: Callable[[], str]) -> Device:
    """The device as an approval of its request leaves it: everything it asked for beside what it had. Another key than
    before keeps nothing of it. A token that is alive stays the same word, with more scopes."""
    before = existing if existing is not None and existing.public_key == one.public_key else None
    facts = {name: getattr(one, name) for name in _FACTS}
    return _with_grant(before, one.device_id, one.public_key, one.roles, one.scopes, facts, "owner", by, now, new_token)


def redeemed(existing: Device | None, asked: Wish, code: SetupCode, now: int, new_token: Callable[[], str]) -> Device:
    """The device as a setup code leaves it."""
    before = existing if existing is not None and existing.public_key == asked.public_key else None
    return _with_grant(
        before, asked.device_id, asked.public_key, code.roles, code.scopes, _said(asked.facts), "setup-code",
        code.created_by, now, new_token,
    )  # fmt: skip


_FACTS = ("display_name", "platform", "device_family", "client_id", "client_mode", "browser_origin", "remote_ip")


def _with_grant(
    before: Device | None, device_id: str, key: str, roles: tuple[str, ...], scopes: tuple[str, ...],
    facts: dict[str, str | None], via: str, by: str, now: int, new_token: Callable[[], str],
) -> Device:  # fmt: skip
    tokens = {one.role: one for one in before.tokens} if before else {}
    for role in roles:
        wanted = scopes if role == OPERATOR_ROLE else ()
        tokens[role] = _token(tokens.get(role), role, wanted, now, new_token)
    return Device(
        device_id, key, union(before.roles if before else (), roles), union(before.scopes if before else (), scopes),
        before.created_at_ms if before else now, now, via, by,
        operator_label=before.operator_label if before else None, tokens=tuple(tokens.values()),
        last_seen_at_ms=before.last_seen_at_ms if before else None,
        last_seen_reason=before.last_seen_reason if before else None, **facts,
    )  # fmt: skip


def _token(
    old: DeviceToken | None, role: str, scopes: tuple[str, ...], now: int, new_token: Callable[[], str]
) -> DeviceToken:
    if old is not None and old.revoked_at_ms is None:
        return replace(old, scopes=union(old.scopes, scopes), generation="")
    return DeviceToken(new_token(), role, scopes, now)


def with_token(device: Device, token: DeviceToken) -> Device:
    """The device with this token in the place of the one of the same role."""
    others = tuple(one for one in device.tokens if one.role != token.role)
    return replace(device, tokens=(*others, token))


def seen(device: Device, role: str, facts: ClientFacts, now: int) -> Device:
    """The device after it connected. What its approval pinned (platform, family) stays as it was."""
    said = tidy(facts)
    tokens = tuple(replace(one, last_used_at_ms=now) if one.role == role else one for one in device.tokens)
    return replace(
        device, tokens=tokens, last_seen_at_ms=now, last_seen_reason="connect",
        display_name=said.display_name or device.display_name, client_id=said.client_id or device.client_id,
        client_mode=said.client_mode or device.client_mode, remote_ip=said.remote_ip or device.remote_ip,
    )  # fmt: skip


def usable(token: DeviceToken, generation: str) -> bool:
    """Whether a token may go on: one of an approval always, one minted for a shared secret while that is the same."""
    return token.revoked_at_ms is None and token.generation in ("", generation)


def not_paired(message: str, **details: object) -> Refusal:
    """What was decided at the door is no longer so."""
    return Refusal(ErrorCode.NOT_PAIRED, message, details=details or None)
