"""This host's own addresses, as the kernel tells them and not as text looks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

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


CHANGES = """
import subprocess
from supervisor import netlink
def run(*words):
    subprocess.run(["ip", *words], check=True)
run("link", "set", "lo", "up")
asked, real = 0, netlink.interface_addresses
def interface_addresses():
    global asked
    asked += 1
    return real()
netlink.interface_addresses = interface_addresses
own = netlink.OwnAddresses()
assert "127.0.0.1" in own.now() and own.now() == own.now() and asked == 1, asked
for host in ("10.9.0.7/24", "fd00::7/64"):
    bare = host.partition("/")[0]
    assert bare not in own.now()
    run("addr", "add", host, "dev", "lo")
    assert bare in own.now()
    run("addr", "del", host, "dev", "lo")
    assert bare not in own.now()
before = asked
# More than the socket has room for: notices are lost.
batch = "".join(f"addr add 10.8.{n // 200}.{n % 200 + 1}/32 dev lo\\n" for n in range(2000))
subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
assert "10.8.9.200" in own.now() and asked == before + 1, asked
subprocess.run(["ip", "addr", "del", "10.8.9.200/32", "dev", "lo"], check=True)
assert "10.8.9.200" not in own.now()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_addresses_are_kept_until_one_changes_also_when_a_notice_is_lost():
    command = ["unshare", "--net", sys.executable, "-I", "-c", CHANGES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
