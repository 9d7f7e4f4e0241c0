"""This host's own addresses, as the kernel tells them and not as text looks."""

from __future__ import annotations

import socket

import pytest

from supervisor import netlink


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.200.3.4", True),
        ("::1", True),
        ("192.0.2.250", False),
        ("2001:db8::250", False),
        ("224.0.0.1", False),
    ],
)
def test_an_address_is_local_when_the_kernel_delivers_it_here(host: str, own: bool):
    assert netlink.is_local(host) is own


def test_every_address_of_an_interface_is_listed_and_local():
    found = netlink.interface_addresses()
    assert {"127.0.0.1", "::1"} <= set(found)
    assert [host for host in found if not netlink.is_local(host)] == []


def test_what_is_no_address_is_refused():
    with pytest.raises(ValueError, match="address"):
        netlink.is_local("localhost")


def test_the_kernels_refusal_is_an_error_of_its_own():
    with pytest.raises(netlink.Refused):
        netlink.ask(0, 9999, b"")


def test_an_interface_is_known_by_name_and_number():
    lo = socket.if_nametoindex("lo")
    assert [netlink.interface_number(scope) for scope in ("lo", str(lo), "", "gone0")] == [lo, lo, 0, 0]


def test_attributes_end_where_their_lengths_lie():
    data = netlink.attribute(1, b"abc") + netlink.attribute(2 | 0x8000, b"")
    assert list(netlink.attributes(data)) == [(1, b"abc"), (2, b"")]
    assert list(netlink.attributes(b"\x02\x00\x01\x00" + data)) == []
    assert list(netlink.attributes(b"\x08")) == []
