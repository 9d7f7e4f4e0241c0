"""Whose address a connection has when a proxy stands in front, and which user the proxy vouches for. Pure.

Owns the reading of forwarded headers. Rule: they are believed from a peer in `gateway.trustedProxies` and refused from
everybody else, because whoever sends them unasked either lies or stands behind a proxy we were not told of, whose
address would then count for all its clients."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence

import msgspec

from gateway.auth.origin import Address, parse_address

Headers = Sequence[tuple[str, str]]
"""Names in lower case, in the order they came."""

FORWARDED_HEADERS = frozenset(
    {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-real-ip"}
    | {"cf-connecting-ip", "true-client-ip", "tailscale-user-login", "tailscale-user-name"}
)
ATTRIBUTION_TYPE = "proxy_attribution_required"
ATTRIBUTION_MESSAGE = (
    "gateway ingress attribution required (add the proxy's address to gateway.trustedProxies, and let it send one "
    "X-Forwarded-For)"
)
MAX_HOPS = 32
_ENDED = re.compile(r'(?:[^"]|"(?:[^"\\]|\\.)*+")*+')
_ELEMENT = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^,"])+')
_UNQUOTED = re.compile(r'[^,"]+')
_FOR = re.compile(r'(?:^|;)\s*for=("(?:[^"\\]|\\.)*"|[^;\s]+)', re.IGNORECASE)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Attributed(msgspec.Struct, frozen=True):
    """Where a connection comes from. `via` is the proxy's address when there is one."""

    address: str
    via: str = ""


class Unattributable(msgspec.Struct, frozen=True):
    """It cannot be said; `detail` is for the log, the peer is told ATTRIBUTION_MESSAGE with a 403."""

    detail: str


def networks_from(texts: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks as configured; mapped IPv4 ones are taken out of their wrapping. Raises ValueError."""
    return tuple(_unmapped(ipaddress.ip_network(text.strip(), strict=False)) for text in texts)


def _unmapped(network: Network) -> Network:
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network


def is_trusted(ip: Address, proxies: Iterable[Network]) -> bool:
    """Whether this is a proxy of ours."""
    return any(ip.version == network.version and ip in network for network in proxies)


def client_address(peer: str, headers: Headers, proxies: Sequence[Network]) -> Attributed | Unattributable:
    """Who is at the far end: the peer, or, when the peer is a proxy of ours, the nearest address before it that is
    not."""
    ip = parse_address(peer)
    if ip is None:
        return Unattributable(f"the peer's address {peer[:64]!r} cannot be read")
    forwarded = sorted({name for name, _ in headers} & FORWARDED_HEADERS)
    if not forwarded:
        return Attributed(str(ip))
    if not is_trusted(ip, proxies):
        return Unattributable(f"{', '.join(forwarded)} from {ip}, which is no trusted proxy")
    return _far_end(ip, headers, proxies)


def _far_end(proxy: Address, headers: Headers, proxies: Sequence[Network]) -> Attributed | Unattributable:
    chains = [chain for chain in (_x_forwarded_for(headers), _forwarded(headers)) if chain]
    if not chains:
        return Unattributable(f"{proxy} names no client: neither X-Forwarded-For nor Forwarded")
    found = {str(_nearest_stranger(chain, proxies) or "") for chain in chains}
    if len(found) > 1:
        return Unattributable(f"X-Forwarded-For and Forwarded of {proxy} name different clients")
    address = found.pop()
    return Attributed(address, str(proxy)) if address else Unattributable(f"{proxy} names a client that is no address")


def _nearest_stranger(chain: list[str], proxies: Sequence[Network]) -> Address | None:
    """From the right, because each proxy adds what it saw: the first that is not ours, or the last of ours. None when
    one on the way cannot be read."""
    if len(chain) > MAX_HOPS:
        return None
    ip = None
    for text in reversed(chain):
        ip = parse_address(_bare(text))
        if ip is None or not is_trusted(ip, proxies):
            return ip
    return ip


def _bare(text: str) -> str:
    """An address without quotes, brackets and port (RFC 7239 section 6)."""
    text = text.strip().strip('"')
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, colon, port = text.rpartition(":")
    return host if colon and ":" not in host and port.isascii() and port.isdigit() else text


def values_of(headers: Headers, name: str) -> list[str]:
    """Every value of a header; `name` in any case."""
    wanted = name.lower()
    return [value for header, value in headers if header == wanted]


def _x_forwarded_for(headers: Headers) -> list[str]:
    return [part for value in values_of(headers, "x-forwarded-for") for part in value.split(",")]


def _forwarded(headers: Headers) -> list[str]:
    """One text per element; an element that names no client is one that cannot be read, because what stands left of it
    is not what the proxy nearest to us saw."""
    elements = (element for value in values_of(headers, "forwarded") for element in _elements(value))
    return [match[1] if (match := _FOR.search(element)) else "" for element in elements]


def _elements(value: str) -> list[str]:
    """What stands between commas; a quote that does not end quotes nothing. Behind the first of those none does: to
    look for the end of each would take seconds, in the turn of everybody."""
    found = _ENDED.match(value)
    whole = found.end() if found else 0
    return [*_ELEMENT.findall(value[:whole]), *_UNQUOTED.findall(value[whole:])]


# --- mode trusted-proxy -----------------------------------------------------------------------------------------------


class ProxyRule(msgspec.Struct, frozen=True):
    """`gateway.auth.trustedProxy`. Header names in lower case."""

    user_header: str
    required_headers: tuple[str, ...] = ()
    allow_users: frozenset[str] = frozenset()
    allow_loopback: bool = False
    proxy_uids: frozenset[int] = frozenset()


def check_user(
    peer: str, headers: Headers, proxies: Sequence[Network], rule: ProxyRule | None, *, local: bool, uid: int
) -> tuple[str, str]:
    """(user, "") when a proxy of ours vouches for a user, else ("", reason). `local`: the peer's address is one of this
    machine's; then `uid` is the account whose process holds the connection, -1 when that is not known.

    A header is worth what its sender is worth: on this machine any process can write one, so a proxy here must run as a
    uid that was named."""
    reason = _distrust(peer, proxies, rule, local=local, uid=uid)
    if reason or rule is None:
        return "", reason
    for header in rule.required_headers:
        if not any(value.strip() for value in values_of(headers, header)):
            return "", f"trusted_proxy_missing_header_{header.lower()}"
    users = [value.strip() for value in values_of(headers, rule.user_header)]
    if len(users) != 1 or not users[0]:  # two of them: one may be the client's own, and which cannot be said
        return "", "trusted_proxy_user_missing"
    if rule.allow_users and users[0] not in rule.allow_users:
        return "", "trusted_proxy_user_not_allowed"
    return users[0], ""


def _distrust(peer: str, proxies: Sequence[Network], rule: ProxyRule | None, *, local: bool, uid: int) -> str:
    """Why this peer is not listened to; empty when it is."""
    if rule is None:
        return "trusted_proxy_config_missing"
    if not proxies:
        return "trusted_proxy_no_proxies_configured"
    ip = parse_address(peer)
    if ip is None or not is_trusted(ip, proxies):
        return "trusted_proxy_untrusted_source"
    if ip.is_loopback:
        named = rule.allow_loopback and local and uid in rule.proxy_uids
        return "" if named else "trusted_proxy_loopback_source"
    return "trusted_proxy_local_interface_source" if local else ""
