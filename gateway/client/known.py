"""What this device knows of gateways: whose certificate it saw there, and the token each gave it for a role.

Owns `known.json`, `{version, gateways: {"host:port": {pin, tokens: {role: {token, scopes, issuedAtMs}}}}}`. A pin is a
fingerprint, or "authorities" where an authority of this system vouched for the certificate: from then on one must."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.client.keep import BadKeep, opened, read, write

FILE = "known.json"
AUTHORITIES = "authorities"


@dataclass(frozen=True, slots=True)
class Known:
    """One gateway as it was last seen; empty for one that never was."""

    pin: str = ""
    token: str = field(default="", repr=False)
    scopes: tuple[str, ...] = ()


def recall(directory: str, name: str, role: str) -> Known:
    """What is known of a gateway, by its `host:port`, in one role. Raises BadKeep."""
    with opened(directory) as handle:
        gateway = _gateways(read(handle, directory, FILE), directory).get(name)
    if not isinstance(gateway, dict):
        return Known()
    tokens = gateway.get("tokens")
    token = tokens.get(role) if isinstance(tokens, dict) else None
    if not isinstance(token, dict):
        return Known(str(gateway.get("pin") or ""))
    return Known(str(gateway.get("pin") or ""), str(token.get("token") or ""), tuple(_texts(token.get("scopes"))))


def remember_pin(directory: str, name: str, pin: str) -> None:
    """Remember a gateway's certificate. Raises BadKeep."""

    def change(gateway: dict[str, Any]) -> None:
        gateway["pin"] = pin

    _change(directory, name, change)


def remember_tokens(directory: str, name: str, auth: Mapping[str, Any]) -> None:
    """Remember the tokens in the `auth` of a hello-ok, whatever else is in it; nothing to do when there are none.
    Raises BadKeep."""
    others = auth.get("deviceTokens")
    given = [auth, *(one for one in others if isinstance(one, Mapping))] if isinstance(others, list) else [auth]
    tokens = {
        str(one.get("role")): {
            "token": one["deviceToken"], "scopes": _texts(one.get("scopes")), "issuedAtMs": one.get("issuedAtMs"),
        }
        for one in given
        if isinstance(one.get("deviceToken"), str)
    }  # fmt: skip
    if not tokens:
        return

    def change(gateway: dict[str, Any]) -> None:
        kept = gateway.get("tokens")
        gateway["tokens"] = {**(kept if isinstance(kept, dict) else {}), **tokens}

    _change(directory, name, change)


def forget_token(directory: str, name: str, role: str, token: str) -> None:
    """Forget a token that a gateway takes no more, and what it was for; another one in its place stays. Raises
    BadKeep."""

    def change(gateway: dict[str, Any]) -> None:
        kept = gateway.get("tokens")
        if isinstance(kept, dict) and isinstance(kept.get(role), dict) and kept[role].get("token") == token:
            gateway["tokens"] = {one: other for one, other in kept.items() if one != role}

    _change(directory, name, change)


def _change(directory: str, name: str, change: Any) -> None:
    with opened(directory, alone=True) as handle:
        told = read(handle, directory, FILE) or {}
        gateways = _gateways(told, directory)
        before = gateways.get(name)
        gateway = dict(before) if isinstance(before, dict) else {}
        change(gateway)
        if gateway != before:
            write(handle, FILE, {**told, "version": 1, "gateways": {**gateways, name: gateway}})


def _gateways(told: Mapping[str, Any] | None, directory: str) -> Mapping[str, Any]:
    gateways = (told or {}).get("gateways", {})
    if (told or {}).get("version", 1) != 1 or not isinstance(gateways, dict):
        raise BadKeep(f"{directory}/{FILE} was written by another version: move it away")
    return gateways


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
