"""Devices and people for stories of pairing: a device has a name here and a key on paper; nobody proves anything."""

from __future__ import annotations

import hashlib
from typing import Any

from gateway.auth.principal import Kind, Principal
from gateway.protocol.devices import ClientFacts, Device, Pending
from gateway.services.pairing import Pairing
from tests.support.calls import OPERATOR

READ, WRITE, ADMIN, PAIRING = "operator.read", "operator.write", "operator.admin", "operator.pairing"


def device_id(name: str) -> str:
    """The id a device of that name would have."""
    return hashlib.sha256(name.encode()).hexdigest()


def facts(name: str = "Phone", ip: str = "10.0.0.7", **more: Any) -> ClientFacts:
    """What a client says of itself."""
    return ClientFacts(**{"client_id": "cli", "client_mode": "cli", "display_name": name, "platform": "linux",
                          "remote_ip": ip, **more})  # fmt: skip


def somebody(*scopes: str) -> Principal:
    """An operator of this machine with these scopes only."""
    return Principal(Kind.OPERATOR, frozenset(scopes), "operator", 1000, 1000, 77)


def connected(name: str, *scopes: str, method: str = "device-token", role: str = "operator") -> Principal:
    """A device that came in."""
    return Principal(
        Kind.DEVICE, frozenset(scopes), "outer:0", -1, -1, 0, device=device_id(name), address="10.0.0.7", role=role,
        method=method, client="cli",
    )  # fmt: skip


async def asks(pairing: Pairing, name: str, *scopes: str, role: str = "operator", **more: Any) -> Pending:
    """A device asks to be paired."""
    reason = more.pop("reason", "not-paired")
    return await pairing.ask(device_id(name), f"key of {name}", role, scopes, facts(name, **more), reason)


async def pair(pairing: Pairing, name: str, *scopes: str, role: str = "operator") -> Device:
    """A device that asked, and was approved by an operator with everything."""
    return await pairing.approve((await asks(pairing, name, *scopes, role=role)).request_id, OPERATOR)
