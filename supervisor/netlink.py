"""Conversations with the kernel over netlink(7): one request, all parts of its answer; and what rtnetlink(7) says of
this host's own addresses.

Owns: the framing. Nothing is kept but `OwnAddresses`, which hears of every change: addresses come and go, and a socket
is made, asked and closed in some twenty microseconds. Everything is asked in the network namespace we are in."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
import weakref
from collections.abc import Iterator

SECONDS = 2.0
"""The kernel answers at once; this is for a kernel that does not."""
_PART_BYTES = 65_536

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _MULTI, _DUMP = 0x1, 0x2, 0x300

_ROUTE = 0
_RTM_GETADDR, _RTM_GETROUTE = 22, 26
_GROUPS = 0x10 | 0x100  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, lengths of destination and source, tos, table, protocol, scope, type
_RTA_DST, _RTA_OIF = 1, 4
_RTN_LOCAL = 2

_ATTRIBUTE = struct.Struct("=HH")


class Refused(OSError):
    """The kernel's answer is an error; `errno` says which."""


def ask(protocol: int, kind: int, body: bytes, *, dump: bool = False) -> list[bytes]:
    """The bodies of everything the kernel answers to one request of this kind. Raises Refused, and OSError where there
    is no such protocol."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as sock:
        sock.settimeout(SECONDS)
        sock.bind((0, 0))
        flags = _REQUEST | (_DUMP if dump else 0)
        sock.sendto(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body, (0, 0))
        bodies: list[bytes] = []
        while True:
            data, sender = sock.recvfrom(_PART_BYTES)
            if sender[0] == 0 and _take(data, bodies):  # 0 is the kernel; others may write to us too
                return bodies


def _take(data: bytes, bodies: list[bytes]) -> bool:
    """Add the messages of one datagram; whether it was the last."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        body = data[at + _HEADER.size : at + length]
        if kind == _NLMSG_DONE:
            return True
        if kind == _NLMSG_ERROR:
            number = -struct.unpack_from("=i", body)[0]
            raise Refused(number, os.strerror(number))
        bodies.append(body)
        if not flags & _MULTI:
            return True
        at += _aligned(length) or _HEADER.size
    return False


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes (number, value) that follow a message's fixed part."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]  # the upper bits say how it is encoded
        at += _aligned(length)


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, as it is sent."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (_aligned(len(value)) - len(value))


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def interface_addresses() -> list[str]:
    """Every address of every interface, IPv4 first, as text; a link-local one with its interface (`fe80::1%eth0`).
    Raises OSError."""
    found: list[str] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for body in ask(_ROUTE, _RTM_GETADDR, _IFADDRMSG.pack(family, 0, 0, 0, 0), dump=True):
            told, _, _, _, interface = _IFADDRMSG.unpack_from(body)
            values = dict(attributes(body[_IFADDRMSG.size :]))
            # On a point-to-point link IFA_ADDRESS is the other end and IFA_LOCAL ours.
            packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
            if told == family and packed is not None:
                found.append(_text(packed, interface))
    return list(dict.fromkeys(found))


class OwnAddresses:
    """The addresses of every interface, without their scopes, kept until the kernel tells of a change or cannot.

    For one thread at a time. The kernel queues a notice before the call that changes an address returns, so whoever
    looks afterwards has it; where a notice was lost (ENOBUFS, netlink(7)) there has been one."""

    def __init__(self) -> None:
        self._notices: socket.socket | None = None
        self._kept: frozenset[str] | None = None

    def now(self) -> frozenset[str]:
        """All of them. Raises OSError."""
        if self._notices is None:
            self._notices = _listen_for_changes()
            weakref.finalize(self, self._notices.close)
        if _has_notice(self._notices):
            self._kept = None
        if self._kept is None:
            self._kept = frozenset(host.partition("%")[0] for host in interface_addresses())
        return self._kept


def _listen_for_changes() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _ROUTE)
    try:
        sock.bind((0, _GROUPS))
    except OSError:
        sock.close()
        raise
    return sock


def _has_notice(notices: socket.socket) -> bool:
    """Whether one has come, or was lost; all that have come are taken."""
    found = False
    while True:
        try:
            notices.recv(_PART_BYTES)
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
        found = True


def _text(packed: bytes, interface: int) -> str:
    address = ipaddress.ip_address(packed)
    if not address.is_link_local or address.version == 4:
        return str(address)
    try:
        return f"{address}%{socket.if_indextoname(interface)}"
    except OSError:  # it has just gone
        return str(address)


def is_local(host: str) -> bool:
    """Whether the kernel delivers what is sent to this address to this host itself: all of 127/8, every address of an
    interface, and whatever a `local` route says. Raises OSError, ValueError for text that is no address."""
    bare, _, scope = host.partition("%")
    address = ipaddress.ip_address(bare)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = _RTMSG.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_DST, address.packed)
    if interface := interface_number(scope):
        body += attribute(_RTA_OIF, struct.pack("=I", interface))
    try:
        answer = ask(_ROUTE, _RTM_GETROUTE, body)
    except Refused as error:
        if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return False
        raise
    return any(_RTMSG.unpack_from(part)[7] == _RTN_LOCAL for part in answer)


def interface_number(scope: str) -> int:
    """The number of the interface in an address's scope (a name or a number); 0 for none, or one that is gone."""
    if not scope:
        return 0
    try:
        return int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)
    except OSError:
        return 0
