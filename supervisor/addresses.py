"""Where the outer door is bound: from `gateway.bind` and this host's addresses to the addresses to listen on. Pure.

| bind | addresses |
|---|---|
| off | none: the Unix doors only |
| loopback | 127.0.0.1 and, where the host has it, ::1 |
| lan | every one: 0.0.0.0 and, where the host has IPv6, :: |
| tailnet | this host's in 100.64.0.0/10 and fd7a:115c:a1e0::/48, which are Tailscale's |
| auto | as tailnet, if there are any; and as loopback |
| custom | as `gateway.customBindHost` gives them |

IPv4 and IPv6 are always two sockets (IPV6_V6ONLY), so that no peer ever has a v4-mapped address."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TAILNET = (ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48"))
MAX_ADDRESSES = 8
"""Each is a descriptor in the message that starts a gateway, which carries sixteen."""


class NoAddress(Exception):
    """There is nothing to listen on; the text names the key and what mends it."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address to listen on. An `optional` one is left out where the host cannot have it."""

    host: str
    optional: bool = False


LOOPBACK = (Address("127.0.0.1"), Address("::1", optional=True))
EVERY = (Address("0.0.0.0"), Address("::", optional=True))


def resolve_bind(bind: str, custom: Sequence[str], interfaces: Iterable[str]) -> list[Address]:
    """The addresses of a bind; `interfaces` are this host's. Raises NoAddress."""
    match bind:
        case "off":
            return []
        case "loopback":
            return list(LOOPBACK)
        case "lan":
            return list(EVERY)
        case "tailnet":
            if tailnet := tailnet_of(interfaces):
                return tailnet
            raise NoAddress(
                "gateway.bind is tailnet and this host has no address in a tailnet (100.64.0.0/10 or "
                "fd7a:115c:a1e0::/48): start tailscaled and log in, or set gateway.bind to auto, which then listens "
                "on loopback"
            )
        case "auto":
            return [*tailnet_of(interfaces), *LOOPBACK]
        case "custom" if custom:
            return [Address(host) for host in dict.fromkeys(custom)][:MAX_ADDRESSES]
    raise NoAddress(f"gateway.bind {bind} names no address: set gateway.customBindHost")


def tailnet_of(interfaces: Iterable[str]) -> list[Address]:
    """Those of the host's addresses that are in a tailnet, few enough for loopback to fit beside them."""
    found = [host for host in interfaces if any(_address(host) in network for network in TAILNET)]
    return [Address(host) for host in dict.fromkeys(found)][: MAX_ADDRESSES - len(LOOPBACK)]


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(host)


def unmapped(host: str) -> str:
    """An address as it is compared: a v4-mapped one (`::ffff:10.0.0.1`) as its IPv4 address, anything else in its
    normal form. Raises ValueError for text that is no address."""
    address = _address(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def shown(host: str, port: int) -> str:
    """An address and a port as people and URLs write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
