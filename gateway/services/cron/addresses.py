"""Which addresses a webhook may lead to. Pure.

Owns the guard against being used to reach what only this machine or its network can (server-side request forgery): a
webhook's address is looked up once, every answer is judged here, and the one that was judged is connected to."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

METADATA = (
    ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("fe80::/10"), ipaddress.ip_network("fd00:ec2::/32"),
    ipaddress.ip_network("100.100.100.200/32"), ipaddress.ip_network("168.63.129.16/32"),
    ipaddress.ip_network("192.0.0.192/32"),
)  # fmt: skip
"""Link-local networks, and where clouds keep a machine's credentials."""
UNROUTED = (
    ipaddress.ip_network("fec0::/10"), ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("192.88.99.0/24"),
    ipaddress.ip_network("3fff::/20"), ipaddress.ip_network("5f00::/16"),
)  # fmt: skip
"""No addresses of the public network (RFC 3879, 6890, 7526, 9637, 9602), though Python 3.11 calls them global."""
_TRANSLATED = (
    ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"),
    ipaddress.ip_network("::ffff:0:0:0/96"),
)  # fmt: skip
KEY = "cron.webhookSsrfPolicy.allowPrivateNetwork"
NAMES_KEY = "cron.webhookSsrfPolicy.allowedHostnames"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Forbidden(Exception):
    """A webhook does not go there; the text says why and what would allow it."""


class Target:
    """An address as it is called: parts of a URL."""

    def __init__(self, url: str) -> None:
        """Take a URL apart. Raises Forbidden for one that is no plain http(s) address."""
        try:
            parts = urlsplit(url)
            self.port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise Forbidden(f"the address is none: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Forbidden("the address is no http(s) URL")
        if parts.username is not None or parts.password is not None:
            raise Forbidden("the address holds a user name or a password; use cron.webhookToken")
        self.secure = parts.scheme == "https"
        self.host = parts.hostname.rstrip(".")
        self.authority = parts.netloc
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def judge(host: str, address: str, *, private: bool, names: Collection[str]) -> str | None:
    """Why `address`, which `host` leads to, is not called; None when it may be. `private`: addresses of this machine
    and its networks are allowed; `names`: hosts that may lead anywhere."""
    if host.lower() in {name.lower().rstrip(".") for name in names}:
        return None
    try:
        found = _plain(ipaddress.ip_address(address.split("%")[0]))
    except ValueError:
        return f"{address} is no address"
    if _is_in(found, METADATA):
        return f"{host} leads to {found}, which is link-local or keeps a machine's credentials ({NAMES_KEY})"
    if found.is_global and not found.is_multicast and not _is_in(found, UNROUTED):
        return None
    odd = found.is_multicast or found.is_unspecified or (found.is_reserved and not found.is_loopback)
    if private and not odd:
        return None
    return f"{host} leads to {found}, which is not an address of the public network ({KEY})"


def _is_in(address: Address, networks: Collection[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def _plain(address: Address) -> Address:
    """What an address means in the end: IPv4 inside IPv6 is IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and any(address in network for network in _TRANSLATED):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None and (teredo := address.teredo) is not None:
            inner = teredo[1]
        if inner is None and int(address) >> 32 == 0 and int(address) > 1:
            inner = ipaddress.IPv4Address(int(address))  # the deprecated ::a.b.c.d
        return inner or address
    return address
