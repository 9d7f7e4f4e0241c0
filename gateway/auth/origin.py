"""By which names this gateway may be called, and from which web pages. Pure.

Owns two rules against browsers (any page a person visits can make requests from inside their network):

* Host: an address this door listens on, a name from `gateway.hostNames` or the certificate, or localhost when loopback
  is among the addresses; never 0.0.0.0 or [::], which some browsers take for this machine. Everything else is answered
  421 (RFC 9110 section 15.5.20): a name that an attacker's DNS lets point here is none of ours.
* Origin: exactly one of `gateway.controlUi.allowedOrigins`, port included. No wildcard, no exception for a page from
  our own address: we serve none, so who claims to be one is something else there. Programs send no Origin."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s/?#:@\[\]\\]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
MAX_ORIGIN_CHARS = 512
MAX_ADDRESS_CHARS = 45
"""Of the longest one: an IPv6 address that ends like an IPv4 one."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_address(text: str) -> Address | None:
    """An address, out of its IPv6 wrapping if it is a mapped IPv4 one (its `is_loopback` differs between Python 3.12
    and 3.13), without its zone. None when it is none."""
    bare = text.partition("%")[0]
    return _parsed(bare) if len(bare) <= MAX_ADDRESS_CHARS else None


@lru_cache(1024)
def _parsed(text: str) -> Address | None:
    """Parsing takes longer than most of what is asked of an address, and each connect asks a dozen times."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


class Names(msgspec.Struct, frozen=True):
    """What this gateway answers to. `addresses`: those it listens on, wildcards included; `names`: configured ones and
    the certificate's, where `*.` stands for one label."""

    addresses: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    @property
    def on_loopback(self) -> bool:
        """Whether this machine's loopback reaches it."""
        ips = [ip for ip in map(parse_address, self.addresses) if ip is not None]
        return any(ip.is_loopback or ip.is_unspecified for ip in ips)


def names_from(addresses: Iterable[str], names: Iterable[str]) -> Names:
    """Names as they are compared; an address may be among them (that of a host whose port is forwarded to us)."""
    return Names(
        frozenset(addresses), frozenset(str(parse_address(name) or name.lower().rstrip(".")) for name in names if name)
    )


def is_our_host(host: str | None, local: str, names: Names) -> bool:
    """Whether a Host header means us. `local` is the address this connection came in at."""
    match = _HOST.fullmatch(host.strip()) if host else None
    if match is None:
        return False
    if match["v6"]:
        return _is_our_address(parse_address(match["v6"]), local, names)
    name = match["name"].lower().rstrip(".")
    ip = parse_address(name)
    if ip is not None:
        return _is_our_address(ip, local, names)
    if name == "localhost":
        return names.on_loopback
    return name in names.names or f"*.{name.partition('.')[2]}" in names.names


def _is_our_address(ip: Address | None, local: str, names: Names) -> bool:
    if ip is None or ip.is_unspecified:
        return False
    if ip.is_loopback:
        return names.on_loopback
    ours = {parse_address(one) for one in (*names.addresses, local)}
    return ip in ours or str(ip) in names.names


def misdirected(host: str | None) -> str:
    """The sentence of a 421."""
    return (
        f"this gateway is not called {(host or 'nothing')[:100]!r} "
        "(add the name to gateway.hostNames, or use an address it listens on)"
    )


# --- origin -----------------------------------------------------------------------------------------------------------

ORIGIN_REFUSED = "origin not allowed (add the page's origin, with its port, to gateway.controlUi.allowedOrigins)"
ORIGIN_CODE, ORIGIN_REASON = "CONTROL_UI_ORIGIN_NOT_ALLOWED", "origin not allowed"


def normalise_origin(text: str) -> str | None:
    """An origin as it is compared: lower case, a scheme's own port left out. None when it is none (`null` is none:
    every sandboxed frame and local file is called that)."""
    match = _ORIGIN.fullmatch(text.strip().lower()) if len(text) <= MAX_ORIGIN_CHARS else None
    if match is None:
        return None
    scheme, host, port = match[1], match[2], match[3]
    if port is None or int(port) == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}"


def origins_from(allowed: Iterable[str]) -> frozenset[str]:
    """The configured list as it is compared; what is no origin (`*` among it) allows nothing."""
    return frozenset(origin for origin in map(normalise_origin, allowed) if origin)


def is_allowed_origin(origin: str | None, allowed: frozenset[str]) -> bool:
    """Whether a page of this origin may connect; whoever sends no Origin is no page."""
    return origin is None or normalise_origin(origin) in allowed
