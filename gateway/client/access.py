"""Where a remote gateway is and what is shown to it: addresses, fingerprints, secrets, and why one cannot be reached.

Pure, and small: it is loaded with every client. Secrets are never part of a text made here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

OPERATOR = "operator"
DEFAULT_SCOPES = ("operator.admin", "operator.approvals", "operator.pairing", "operator.read", "operator.write")
"""What a device asks for when nobody says what: what an operator does here. The person who approves sees it."""
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_PORTS = {"ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Access:
    """What a client shows. Empty fields are not shown; the device's own token, once it has one, is used where neither
    `token` nor `password` is given. `setup` is the token of a setup code.

    `fingerprint` is the SHA-256 of the certificate that must be there, and replaces one that was remembered. `scopes`
    are what is asked for: by default what this device was given before, else DEFAULT_SCOPES. `directory` is where the
    device's key and what it knows of gateways are kept (see `gateway.client.device_key`). `first_use` is told
    `host:port` and fingerprint when a certificate is about to be remembered that nobody vouched for; what it raises
    ends the connect before a secret is sent."""

    token: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    setup: str = field(default="", repr=False)
    fingerprint: str = ""
    scopes: tuple[str, ...] = ()
    role: str = OPERATOR
    directory: str = ""
    first_use: Callable[[str, str], None] | None = None


class CannotConnect(Exception):
    """What is at an address cannot, or may not, be spoken to; no secret was sent. `kind` is a word for programs: one of
    unknown-host, unreachable, no-tls, tls-there, tls, certificate-changed, not-a-gateway, refused, busy.
    `certificate-changed` carries both fingerprints, `busy` how long to wait in seconds."""

    def __init__(
        self, kind: str, message: str, *, expected: str = "", found: str = "", wait: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.expected = expected
        self.found = found
        self.wait = wait


def is_remote(address: str) -> bool:
    """Whether this is an address over the network."""
    return address.startswith(("ws://", "wss://"))


class Address(msgspec.Struct, frozen=True):
    """A gateway over the network. `name` is what it is remembered by."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def name(self) -> str:
        """host:port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{'wss' if self.secure else 'ws'}://{self.name}{'' if self.path == '/' else self.path}"

    @property
    def is_here(self) -> bool:
        """Whether what goes there stays on this machine."""
        return is_loopback(self.host)


def parse_address(text: str) -> Address:
    """The address in `text`. Raises ValueError with a sentence."""
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"{text}: no such port") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address holds no secret: give it with --token-file, or in the environment")
    if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment or port == 0:
        raise ValueError(f"{text} is no address of a gateway; one looks like wss://host:18789")
    return Address(parts.scheme == "wss", parts.hostname, port or _PORTS[parts.scheme], parts.path or "/")


def is_loopback(host: str) -> bool:
    """Whether a host's name, or its address, means this machine."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def parse_fingerprint(text: str) -> str:
    """`sha256:` and 64 hexadecimal digits, from what people and other programs write. Raises ValueError."""
    digits = text.strip().lower().removeprefix("sha256:").removeprefix("sha256 fingerprint=").replace(":", "")
    if not _FINGERPRINT.fullmatch(digits):
        raise ValueError(
            f"{text[:100]} is no fingerprint; one is sha256: and 64 hexadecimal digits (peergate cert show)"
        )
    return f"sha256:{digits}"
