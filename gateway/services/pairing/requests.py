"""Transactions about requests: ask, approve, reject, expire.

Owns the bounds of the list of those who wait. Each function is one transaction: it looks at the disk, decides by
`rules`, writes, and says what it did."""

from __future__ import annotations

import hmac
import sqlite3
import uuid
from collections.abc import Callable

from gateway.auth.principal import Principal
from gateway.protocol.devices import MAX_PENDING, MAX_PENDING_PER_ADDRESS, SETUP_TTL_MS, AuditLine, Device, Pending
from gateway.protocol.errors import Refusal, invalid, unavailable
from gateway.services.pairing import rules
from gateway.services.pairing.changes import (
    APPROVED,
    EXPIRED,
    REJECTED,
    Asked,
    Change,
    CodeDropped,
    Noted,
    Paired,
    Resolved,
    Step,
    denied,
)
from gateway.services.pairing.rules import Wish
from gateway.store import audit, devices

MAX_DEVICES = 10_000
"""Paired devices in all; each is approved by a person, so this is a bound on mistakes."""
FULL_RETRY_MS = 60_000


def ask(db: sqlite3.Connection, asked: Wish, now: int) -> Step[Pending]:
    """Leave a request, or refresh the one that asks for the same. Raises Refusal when too many wait."""
    mine = devices.requests_of(db, asked.device_id)
    waiting = [one for one in mine if one.expires_at_ms > now]
    address = rules.address_key(asked.facts.remote_ip)
    if (same := rules.same_grant(waiting, asked)) is not None:
        again = rules.refreshed(same, asked, now)
        devices.put_request(db, again, address)
        return Step(again, [Asked(again, new=False)])
    _check_room(db, asked.device_id, address, now)
    known = devices.device(db, asked.device_id) is not None
    one = rules.merged(waiting, asked, str(uuid.uuid4()), known=known, now=now)
    changes: list[Change] = [_drop(db, old, REJECTED if old in waiting else EXPIRED) for old in mine]
    devices.put_request(db, one, address)
    line = _line("device.pair.requested", one, rule=one.reason)
    audit.add(db, now, line)
    return Step(one, [*changes, Noted(line), Asked(one, new=True)])


def _check_room(db: sqlite3.Connection, device_id: str, address: str, now: int) -> None:
    if devices.count_requests(db, now, beside=device_id, address=address) >= MAX_PENDING_PER_ADDRESS:
        where = f"of {address} wait ({MAX_PENDING_PER_ADDRESS})"
    elif devices.count_requests(db, now, beside=device_id) >= MAX_PENDING:
        where = f"wait ({MAX_PENDING})"
    else:
        return
    text = f"too many pairing requests {where}; approve or reject some (peergate devices list), or wait"
    raise unavailable(text, FULL_RETRY_MS, code="PAIRING_REQUESTS_FULL")


def approve(
    db: sqlite3.Connection, request_id: str, by: Principal, digest: str | None, now: int, new_token: Callable[[], str]
) -> Step[Device]:
    """Grant all that a request asks for. `digest`: what the approver saw it would grant. Raises Refusal."""
    one = _known(db, request_id, by, "device pairing approval denied", now)
    if digest is not None and not hmac.compare_digest(digest.encode(), one.digest.encode()):
        raise denied("the request has changed since it was looked at: peergate devices list", "digest-mismatch")
    existing = devices.device(db, one.device_id)
    if existing is None and devices.count_devices(db) >= MAX_DEVICES:
        raise invalid(f"{MAX_DEVICES} devices are paired, more are not kept: peergate devices remove ID")
    device = rules.granted(existing, one, by.name, now, new_token)
    tokens = [token.scopes for token in device.tokens if token.role in one.roles]
    rules.check_may_grant(by, one.roles, rules.union(one.scopes, *tokens))
    devices.put_device(db, device)
    resolved = _drop(db, one, APPROVED)
    line = _line("device.pair.approved", one, rule="owner", who=by.name)
    audit.add(db, now, line)
    return Step(device, [Noted(line), Paired(device), resolved])


def reject(db: sqlite3.Connection, request_id: str, by: Principal, now: int) -> Step[Pending]:
    """Take a request away. Raises Refusal."""
    one = _known(db, request_id, by, "device pairing rejection denied", now, any_role=True)
    resolved = _drop(db, one, REJECTED)
    line = _line("device.pair.rejected", one, rule="owner", who=by.name)
    audit.add(db, now, line)
    return Step(one, [Noted(line), resolved])


def expire(db: sqlite3.Connection, now: int) -> Step[None]:
    """Drop requests and setup codes whose time is over."""
    over = devices.expired_requests(db, now)
    devices.drop_expired_requests(db, now)
    for one in over:
        audit.add(db, now, _line("device.pair.expired", one, rule="ttl"))
    old = devices.codes_to_forget(db, now)
    devices.drop_old_codes(db, now)
    return Step(None, [*(Resolved(one, EXPIRED) for one in over), *(CodeDropped(one.token_hash) for one in old)])


def forget_at(created_at_ms: int) -> int:
    """How a setup code ended can be asked for as long again as it could be used."""
    return created_at_ms + 2 * SETUP_TTL_MS


def _known(
    db: sqlite3.Connection, request_id: str, by: Principal, denial: str, now: int, *, any_role: bool = False
) -> Pending:
    one = devices.request(db, request_id)
    if one is None or one.expires_at_ms <= now:
        raise _unknown(by, denial)
    rules.check_manages(by, one.device_id, denial)
    if not any_role:
        rules.check_may_grant(by, one.roles, ())
    return one


def _unknown(by: Principal, denial: str) -> Refusal:
    # Who sees itself only does not learn which requests there are.
    return denied(denial if rules.manages_itself_only(by) else "unknown requestId", "unknown-request")


def _drop(db: sqlite3.Connection, one: Pending, decision: str) -> Resolved:
    devices.delete_request(db, one.request_id)
    return Resolved(one, decision)


def _line(event: str, one: Pending, *, rule: str, who: str = "") -> AuditLine:
    detail = {"request": one.request_id, "roles": list(one.roles), "scopes": list(one.scopes), "digest": one.digest}
    detail |= {"client": one.client_id or "", "platform": one.platform or "", "name": one.display_name or ""}
    return AuditLine(event, rule, one.device_id, one.remote_ip or "", who, "", detail)
