"""More scopes for a device that is connected: what it may ask for, and how it waits for the answer.

Owns that a device asks and waits for itself alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import trio

from gateway.auth.principal import Kind, Principal
from gateway.protocol.devices import OPERATOR_ROLE, ClientFacts, Device
from gateway.protocol.errors import invalid
from gateway.protocol.scopes import KNOWN_SCOPES, uncovered
from gateway.services.pairing import rules
from gateway.services.pairing.book import Book
from gateway.services.pairing.changes import APPROVED, EXPIRED, REJECTED
from gateway.services.pairing.rules import Wish

MAX_SCOPES = 8
DEVICE_REQUIRED = "device scope upgrade requires a paired device; connect with one, then retry"


def wish_of(book: Book, by: Principal, scopes: Iterable[str]) -> Wish:
    """What the caller, a paired device, asks for. Raises Refusal."""
    device = _own(book, by)
    wanted = rules.union(scopes)
    if not 0 < len(wanted) <= MAX_SCOPES:
        raise invalid(f"1 to {MAX_SCOPES} scopes can be asked for")
    if any(scope not in KNOWN_SCOPES for scope in wanted):
        raise invalid("requested scopes contain an unknown operator scope")
    if uncovered(by.scopes, wanted):
        raise invalid("requested scopes must include the connection's current scopes")
    facts = ClientFacts(
        client_id=device.client_id or "", client_mode=device.client_mode or "", display_name=device.display_name,
        platform=device.platform, device_family=device.device_family, browser_origin=device.browser_origin,
        remote_ip=by.address or device.remote_ip,
    )  # fmt: skip
    return rules.wish(device.device_id, device.public_key, OPERATOR_ROLE, wanted, facts, "scope-upgrade")


async def wait(book: Book, by: Principal, request_id: str) -> dict[str, Any]:
    """Wait until a request of the caller's own has ended: {status: approved, requestId, deviceToken, scopes} or
    {status: rejected | expired, requestId}. At most as long as the request may wait. Raises Refusal."""
    device_id = _own(book, by).device_id
    name = request_id.strip()
    while True:
        owner, decision = book.standing(name)
        if owner != device_id:
            raise invalid("scope upgrade expired or not found")
        if decision:
            return _answer(book.devices.get(device_id), name, decision)
        with trio.move_on_after(book.seconds_left(name)):
            await book.wait_ended()


def _answer(device: Device | None, request_id: str, decision: str) -> dict[str, Any]:
    token = device.token(OPERATOR_ROLE) if device else None
    if decision != APPROVED or token is None:
        return {"status": EXPIRED if decision == EXPIRED else REJECTED, "requestId": request_id}
    return {"status": APPROVED, "requestId": request_id, "deviceToken": token.token, "scopes": list(token.scopes)}


def _own(book: Book, by: Principal) -> Device:
    device = book.devices.get(by.device) if by.kind is Kind.DEVICE and by.role == OPERATOR_ROLE else None
    if device is None:
        raise invalid(DEVICE_REQUIRED, code="DEVICE_IDENTITY_REQUIRED")
    return device
