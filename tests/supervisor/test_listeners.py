"""The outer door's sockets: what they are set to, one port for all, and what a taken or impossible address is told."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from supervisor.addresses import Address
from supervisor.holders import who_listens
from supervisor.listeners import CannotListen, Listeners, open_listeners

FOUR, SIX = Address("127.0.0.1"), Address("::1", optional=True)


@pytest.fixture
def door() -> Iterator[Listeners]:
    door = Listeners.open([FOUR, SIX], 0)
    yield door
    door.close()


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def test_all_addresses_share_one_free_port_and_are_named(door: Listeners):
    assert list(door.listeners) == ["outer:0", "outer:1"]
    four, six = door.listeners.values()
    assert port_of(four) == port_of(six) != 0
    assert door.addresses == [f"127.0.0.1:{port_of(four)}", f"[::1]:{port_of(four)}"]


def test_each_socket_is_as_its_holders_need_it(door: Listeners):
    for listener in door.listeners.values():
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert not listener.getblocking()
        assert not os.get_inheritable(listener.fileno())
        with socket.create_connection(listener.getsockname()[:2]), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert door.listeners["outer:1"].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_every_address_means_two_sockets_and_no_peer_is_v4_mapped():
    door = open_listeners("lan", 0, ())
    try:
        four, six = door.listeners.values()
        with socket.create_connection(("127.0.0.1", port_of(six))):
            accepted, peer = four.accept()
            accepted.close()
            assert peer[0] == "127.0.0.1"
        with pytest.raises(BlockingIOError):
            six.accept()
    finally:
        door.close()


def test_off_opens_nothing():
    door = open_listeners("off", 18789, ("10.0.0.1",))
    assert (door.listeners, door.addresses) == ({}, [])


def test_a_taken_port_is_told_with_who_has_it_and_the_ways_out(door: Listeners):
    port = port_of(door.listeners["outer:0"])
    with pytest.raises(CannotListen) as refused:
        Listeners.open([Address("127.0.0.2"), FOUR], port, who_listens)
    said = str(refused.value)
    assert said.startswith(f"127.0.0.1:{port} is taken by pid {os.getpid()} (")
    for way in ("gateway.port", "--port", "gateway.bind off"):
        assert way in said
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", port))  # nothing stayed open


class Picky(socket.socket):
    """The kernel of a host on which IPv6 addresses cannot be had: `refusals` are its answers to bind, one by one."""

    refusals: Iterator[int] = iter(())

    def bind(self, address: Any) -> None:
        if self.family == socket.AF_INET6 and (refused := next(self.refusals, 0)):
            raise OSError(refused, os.strerror(refused))
        super().bind(address)


def test_a_free_port_that_is_taken_on_another_address_is_not_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Picky, "refusals", iter([errno.EADDRINUSE, errno.EADDRINUSE]))
    monkeypatch.setattr(socket, "socket", Picky)
    door = Listeners.open([FOUR, SIX], 0)
    assert len({port_of(listener) for listener in door.listeners.values()}) == 1
    assert len(door.listeners) == 2
    door.close()


@pytest.mark.parametrize("reason", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_host_without_ipv6_goes_without_where_nobody_asked_for_it_by_name(monkeypatch, reason):
    monkeypatch.setattr(Picky, "refusals", iter([reason] * 3))
    monkeypatch.setattr(socket, "socket", Picky)
    for bind in ("loopback", "lan"):
        door = open_listeners(bind, 0, ())
        assert len(door.addresses) == 1
        door.close()
    with pytest.raises(CannotListen, match=r"\[::1\]:"):
        open_listeners("custom", 0, ("127.0.0.1", "::1"))


def test_an_address_this_host_does_not_have_names_its_key():
    with pytest.raises(CannotListen, match=r"203\.0\.113\.9:18789 is no address of this host: .*customBindHost"):
        open_listeners("custom", 18789, ("203.0.113.9",))


NETWORK = """
from supervisor.listeners import CannotListen, open_listeners
try:
    print(*open_listeners({bind!r}, 0, ()).addresses)
except CannotListen as refused:
    print(refused)
"""


def alone(bind: str, *prepare: str) -> str:
    """What a bind gives on a host of its own: one interface, lo, prepared by these commands."""
    if os.geteuid() != 0:
        pytest.skip("needs user namespaces, or root, for a network of one's own")
    script = " && ".join(["ip link set lo up", *prepare, 'exec "$@"'])
    command = ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, "-I", "-c", NETWORK.format(bind=bind)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_tailnet_is_bound_when_it_is_up_and_refuses_the_start_until_then():
    assert "start tailscaled" in alone("tailnet")
    up = ("ip addr add 100.64.0.7/32 dev lo", "ip addr add fd7a:115c:a1e0::7/128 dev lo")
    assert [one.rpartition(":")[0] for one in alone("tailnet", *up).split()] == ["100.64.0.7", "[fd7a:115c:a1e0::7]"]
    assert [one.rpartition(":")[0] for one in alone("auto").split()] == ["127.0.0.1", "[::1]"]


def test_loopback_is_ipv4_alone_where_ipv6_is_switched_off():
    told = alone("loopback", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    assert [one.rpartition(":")[0] for one in told.split()] == ["127.0.0.1"]


def test_a_listener_that_somebody_shut_down_listens_again(door: Listeners):
    assert door.check() == []
    held = socket.socket(fileno=os.dup(door.listeners["outer:1"].fileno()))
    held.shutdown(socket.SHUT_RDWR)
    held.close()
    before = door.addresses
    door.listeners["outer:0"].shutdown(socket.SHUT_RDWR)
    assert door.check() == ["outer:0", "outer:1"]
    assert door.addresses == before
    with socket.create_connection(door.listeners["outer:1"].getsockname()[:2]):
        door.listeners["outer:1"].accept()[0].close()
    assert door.check() == []
