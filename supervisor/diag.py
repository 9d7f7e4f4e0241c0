"""What the kernel knows of a TCP socket of this host, by NETLINK_SOCK_DIAG (sock_diag(7)): whose it is, its inode, the
cgroup it was made in; and who listens on a port.

Owns: which answers are believed. A question for an exact connection is also answered with a socket that merely listens
there, or with one in TIME_WAIT that belongs to nobody any more (Linux 6.18), so only an established socket with an
inode and exactly the two ends of the question counts."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from supervisor import netlink
from supervisor.addresses import unmapped

ESTABLISHED, LISTEN = 1, 10

_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_CGROUP = 21  # INET_DIAG_CGROUP_ID (5.8)
_REQUEST = struct.Struct("=BBBBI")  # family, protocol, extensions, padding, states
_ADDRESSES = struct.Struct(">HH16s16s")  # ports and addresses of source and destination, in network order
_INTERFACE_COOKIE = struct.Struct("=IQ")
_ANY_COOKIE = 2**64 - 1
_MESSAGE = struct.Struct("=BBBB")  # family, state, timer, retransmissions
_REST = struct.Struct("=IIIII")  # expires, queues, uid, inode
_ID_BYTES = _ADDRESSES.size + _INTERFACE_COOKIE.size
_ALL_STATES = 0xFFFFFFFF

End = tuple[str, int]
"""One end of a connection: an address (a link-local one with its interface) and a port."""


@dataclass(frozen=True, slots=True)
class Socket:
    """One socket as the kernel tells it. `cookie` is never given to another one; `cgroup` is the inode of the group's
    directory, 0 where the kernel does not say."""

    state: int
    local: End
    remote: End
    uid: int
    inode: int
    cookie: int
    cgroup: int


def established(local: End, remote: End) -> Socket | None:
    """The established socket of this host with exactly these two ends, `local` its own; None when there is none to
    believe. Raises OSError where the kernel cannot be asked, ValueError for text that is no address."""
    wanted = _plain(local), _plain(remote)
    return next((found for found in answers(local, remote) if believed(found, *wanted)), None)


def answers(local: End, remote: End) -> Iterator[Socket]:
    """What the kernel answers for these two ends, believed or not. Raises as `established` does."""
    for body in _questions(local, remote):
        try:
            told = netlink.ask(_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, body)
        except netlink.Refused as error:
            if error.errno == errno.ENOENT:
                continue
            raise
        yield from map(_parse, told)


def believed(found: Socket, local: End, remote: End) -> bool:
    """Whether an answer is about the connection that was asked for, and about one that somebody has."""
    return found.state == ESTABLISHED and found.inode != 0 and (found.local, found.remote) == (local, remote)


def listening(port: int) -> list[Socket]:
    """Every socket of this host that listens on a port. Raises OSError."""
    found: list[Socket] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << LISTEN) + b"\0" * _ID_BYTES
        found += map(_parse, netlink.ask(_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, body, dump=True))
    return [one for one in found if one.local[1] == port]


def _questions(local: End, remote: End) -> Iterator[bytes]:
    """The exact request for two ends; none when they are of two families.

    One is enough for IPv4: the kernel then looks among all sockets, IPv6 ones with v4-mapped addresses included. An
    IPv6 link-local address without its interface is looked for on each."""
    (source, scope), (target, _) = _split(local[0]), _split(remote[0])
    if source.version != target.version:
        return
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    interfaces = [netlink.interface_number(scope)]
    if family == socket.AF_INET6 and source.is_link_local and not interfaces[0]:
        interfaces = [number for number, _ in socket.if_nameindex()]
    head = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES)
    ends = _ADDRESSES.pack(local[1], remote[1], _padded(source), _padded(target))
    for interface in interfaces:
        yield head + ends + _INTERFACE_COOKIE.pack(interface, _ANY_COOKIE)


def _split(host: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, str]:
    bare, _, scope = host.partition("%")
    return ipaddress.ip_address(unmapped(bare)), scope


def _padded(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    return address.packed.ljust(16, b"\0")


def _plain(end: End) -> End:
    """An end as answers are compared: unmapped, and without the interface, which an answer tells elsewhere."""
    return str(_split(end[0])[0]), end[1]


def _parse(body: bytes) -> Socket:
    family, state, _, _ = _MESSAGE.unpack_from(body)
    source_port, target_port, source, target = _ADDRESSES.unpack_from(body, _MESSAGE.size)
    _, cookie = _INTERFACE_COOKIE.unpack_from(body, _MESSAGE.size + _ADDRESSES.size)
    _, _, _, uid, inode = _REST.unpack_from(body, _MESSAGE.size + _ID_BYTES)
    told = dict(netlink.attributes(body[_MESSAGE.size + _ID_BYTES + _REST.size :]))
    cgroup = struct.unpack("=Q", told[_CGROUP])[0] if len(told.get(_CGROUP, b"")) == 8 else 0
    size = 4 if family == socket.AF_INET else 16
    hosts: Iterator[str] = (unmapped(str(ipaddress.ip_address(packed[:size]))) for packed in (source, target))
    return Socket(state, (next(hosts), source_port), (next(hosts), target_port), uid, inode, cookie, cgroup)
