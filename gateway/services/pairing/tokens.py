"""Transactions about paired devices: they connect, are renamed, removed, and their tokens rotated or revoked.

Owns what ends a device's connections. A setup code that a device used dies with what it was given, or the device would
come back with it."""

from __future__ import annotations

import hmac
import sqlite3
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from gateway.auth.principal import Kind, Principal
from gateway.protocol.devices import MAX_LABEL_CHARS, OPERATOR_ROLE, AuditLine, ClientFacts, Device, DeviceToken
from gateway.protocol.errors import invalid
from gateway.protocol.scopes import KNOWN_SCOPES, uncovered
from gateway.services.pairing import rules
from gateway.services.pairing.changes import (
    REJECTED,
    REMOVED,
    REVOKED,
    ROTATED,
    Change,
    CodeDropped,
    Invalidated,
    Noted,
    Paired,
    Resolved,
    Step,
    Unpaired,
    denied,
)
from gateway.store import audit, devices

ROTATION_DENIED = "device token rotation denied"
REVOCATION_DENIED = "device token revocation denied"


def admit(
    db: sqlite3.Connection, device_id: str, role: str, scopes: Iterable[str], facts: ClientFacts, method: str,
    shown: str | None, generation: str, now: int, new_token: Callable[[], str],
) -> Step[DeviceToken]:  # fmt: skip
    """Let a device in that the door has decided to let in, as far as that is still so: its token, the same or a new
    one. Raises Refusal NOT_PAIRED."""
    device, token = still_good(devices.device(db, device_id), role, scopes, shown)
    wanted = rules.union(scopes) if role == OPERATOR_ROLE else ()
    if not rules.usable(token, generation):
        token = DeviceToken(new_token(), role, wanted, token.created_at_ms, generation, rotated_at_ms=now)
        line = AuditLine("device.token.issued", method, device_id, facts.remote_ip or "", "", "", {"role": role})
        audit.add(db, now, line)
    elif uncovered(wanted, token.scopes):
        token = replace(token, scopes=rules.union(token.scopes, wanted))
    device = rules.seen(rules.with_token(device, token), role, facts, now)
    devices.put_device(db, device)
    return Step(token, [Paired(device)])


def still_good(
    device: Device | None, role: str, scopes: Iterable[str], shown: str | None
) -> tuple[Device, DeviceToken]:
    """The device and its token for `role` when it may still come in so. Raises Refusal NOT_PAIRED."""
    token = device.token(role) if device is not None else None
    if device is None or token is None:
        raise rules.not_paired("pairing required: device is not approved yet", reason="not-paired")
    if shown and not hmac.compare_digest(shown.encode(), token.token.encode()):
        raise rules.not_paired("pairing required: device is not approved yet", reason="token-rotated")
    if role == OPERATOR_ROLE and uncovered(scopes, device.scopes):
        raise rules.not_paired(
            "pairing required: device is asking for more scopes than currently approved", reason="scope-upgrade"
        )
    return device, token


def touch(db: sqlite3.Connection, device_id: str, role: str, facts: ClientFacts, now: int) -> Step[None]:
    """Write down when a device was last here."""
    device = devices.device(db, device_id)
    if device is None:
        return Step(None)
    device = rules.seen(device, role, facts, now)
    devices.put_device(db, device)
    return Step(None, [Paired(device)])


def rename(db: sqlite3.Connection, device_id: str, label: str, by: Principal, now: int) -> Step[str]:
    """Give a device a name of the operator's, as far as it prints. Raises Refusal."""
    name = rules.harmless(label)
    if not 0 < len(name) <= MAX_LABEL_CHARS:
        raise invalid(f"label required: 1 to {MAX_LABEL_CHARS} characters" if not name else _too_long(name))
    device = _mine(db, device_id, by, "device pairing rename denied")
    device = replace(device, operator_label=name)
    devices.put_device(db, device)
    line = AuditLine("device.pair.renamed", "owner", device_id, "", by.name, "", {"label": name})
    audit.add(db, now, line)
    return Step(name, [Noted(line), Paired(device, "renamed")])


def _too_long(name: str) -> str:
    return f"the label has {len(name)} characters, at most {MAX_LABEL_CHARS} are allowed"


def remove(db: sqlite3.Connection, device_id: str, by: Principal, now: int) -> Step[str]:
    """Take a device away, with its tokens, what it still asks for, and the setup codes it used. Also one whose record
    is damaged. Raises Refusal."""
    denial = "device pairing removal denied"
    known = devices.device(db, device_id)
    rules.check_manages(by, device_id, denial, known.roles if known else ())
    if not devices.delete_device(db, device_id):
        raise denied("unknown deviceId", "unknown-device")
    changes = _drop_codes(db, device_id)
    for one in devices.requests_of(db, device_id):
        devices.delete_request(db, one.request_id)
        changes.append(Resolved(one, REJECTED))
    line = AuditLine("device.pair.removed", "owner", device_id, "", by.name)
    audit.add(db, now, line)
    return Step(device_id, [Noted(line), Unpaired(device_id), *changes, Invalidated(device_id, None, REMOVED)])


def rotate(
    db: sqlite3.Connection, device_id: str, role: str, scopes: Iterable[str] | None, by: Principal, now: int,
    new_token: Callable[[], str],
) -> Step[DeviceToken]:  # fmt: skip
    """A new token for a role, with the scopes given or those it had. Raises Refusal.

    Scopes that are given become all that the device is approved for: it comes back with no more, whatever else it
    shows. What the device is connected with in this role ends, also when it did this itself, once it has been told."""
    device = _mine(db, device_id, by, ROTATION_DENIED, role)
    old = device.token(role)
    if old is None:
        raise denied(ROTATION_DENIED, "token-missing")
    wanted = old.scopes if scopes is None else rules.union(scopes)
    if [one for one in wanted if one not in KNOWN_SCOPES] or uncovered(wanted, device.scopes):
        raise denied(ROTATION_DENIED, "scope-outside-approved")
    _check_covers(by, wanted, ROTATION_DENIED)
    token = DeviceToken(new_token(), role, wanted, old.created_at_ms, rotated_at_ms=now)
    device = rules.with_token(device, token)
    codes: list[Change] = []
    if scopes is not None and role == OPERATOR_ROLE:
        device = replace(device, scopes=wanted)
        codes = _drop_codes(db, device_id)  # or the code would give it back
    devices.put_device(db, device)
    line = AuditLine(
        "device.token.rotated", "owner", device_id, "", by.name, "", {"role": role, "scopes": list(wanted)}
    )
    audit.add(db, now, line)
    gone = Invalidated(device_id, role, ROTATED)
    return Step(token, [Noted(line), *codes, Paired(device, "token-rotated"), gone])


def told_in_band(by: Principal, device_id: str) -> bool:
    """Whether the caller is the device itself, known by its own token: nobody else is told a token."""
    return by.kind is Kind.DEVICE and by.device == device_id and by.method == "device-token"


def revoke(db: sqlite3.Connection, device_id: str, role: str, by: Principal, now: int) -> Step[DeviceToken]:
    """End a role of a device until it is approved again; doing it twice changes nothing. Raises Refusal."""
    device = _mine(db, device_id, by, REVOCATION_DENIED, role)
    old = next((one for one in device.tokens if one.role == role), None)
    if old is None:
        raise denied(REVOCATION_DENIED, "token-missing")
    _check_covers(by, old.scopes, REVOCATION_DENIED)
    if old.revoked_at_ms is not None:
        return Step(old)
    token = replace(old, revoked_at_ms=now)
    device = rules.with_token(device, token)
    devices.put_device(db, device)
    codes = _drop_codes(db, device_id)
    line = AuditLine("device.token.revoked", "owner", device_id, "", by.name, "", {"role": role})
    audit.add(db, now, line)
    gone = Invalidated(device_id, role, REVOKED)
    return Step(token, [Noted(line), *codes, Paired(device, "token-revoked"), gone])


def _mine(db: sqlite3.Connection, device_id: str, by: Principal, denial: str, role: str = OPERATOR_ROLE) -> Device:
    rules.check_manages(by, device_id, denial, [role])
    device = devices.device(db, device_id)
    if device is None:
        raise denied("unknown deviceId", "unknown-device")
    return device


def _check_covers(by: Principal, scopes: Iterable[str], denial: str) -> None:
    if missing := uncovered(scopes, by.scopes):
        raise denied(denial, "caller-missing-scope", missingScope=missing[0])


def _drop_codes(db: sqlite3.Connection, device_id: str) -> list[Change]:
    codes = devices.codes_of(db, device_id)
    devices.drop_codes_of(db, device_id)
    return [CodeDropped(one.token_hash) for one in codes]
