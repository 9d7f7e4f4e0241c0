"""What the kernel says of real connections, and which of its answers are about something else."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from supervisor import diag, netlink
from supervisor.diag import ESTABLISHED, LISTEN, Socket, answers, believed, established, listening

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, so that no TIME_WAIT keeps the port


@contextmanager
def connection(
    host: str, family: int = socket.AF_INET, source_port: int = 0
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The peer's socket and ours."""
    with socket.create_server((host, 0), family=family) as server, socket.socket(family) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((host, source_port))
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            yield client, accepted


def ends(accepted: socket.socket) -> tuple[diag.End, diag.End]:
    """The peer's end and ours, as a gateway sees them."""
    return accepted.getpeername()[:2], accepted.getsockname()[:2]


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_a_connection_of_this_host_is_told_with_its_socket(host: str, family: int):
    with connection(host, family) as (client, accepted):
        found = established(*ends(accepted))
        assert found is not None
        assert (found.state, found.uid) == (ESTABLISHED, os.geteuid())
        assert found.inode == os.fstat(client.fileno()).st_ino
        assert (found.local, found.remote) == ends(accepted)
        again = established(*ends(accepted))
        assert again is not None
        assert again.cookie == found.cookie


def test_an_ipv6_socket_that_speaks_ipv4_is_found_by_its_ipv4_ends():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET6) as client:
        client.connect(("::ffff:127.0.0.1", server.getsockname()[1]))
        accepted, peer = server.accept()
        with accepted:
            assert peer[0] == "127.0.0.1"
            plain, mapped = established(*ends(accepted)), established(client.getsockname()[:2], accepted.getsockname())
            assert plain is not None
            assert plain == mapped
            assert plain.inode == os.fstat(client.fileno()).st_ino


def test_a_link_local_connection_is_found_with_and_without_its_interface():
    own = next((host for host in netlink.interface_addresses() if host.startswith("fe80::")), None)
    if own is None:
        own = "::1"  # a host without one has nothing to tell apart
    info = socket.getaddrinfo(own, 0, socket.AF_INET6)[0][4]
    with socket.socket(socket.AF_INET6) as server, socket.socket(socket.AF_INET6) as client:
        server.bind(info)
        server.listen()
        client.connect(server.getsockname())
        accepted, peer = server.accept()
        with accepted:
            _, ours = ends(accepted)
            assert established((own, peer[1]), ours) == established(peer[:2], ours) is not None


def test_a_listener_on_the_peers_port_is_no_answer():
    with connection("127.0.0.1") as (client, accepted):
        peer, ours = ends(accepted)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()
        with socket.create_server(peer):
            assert [found.state for found in answers(peer, ours)] == [LISTEN], "the kernel falls back to it"
            assert established(peer, ours) is None


def test_a_connection_in_time_wait_belongs_to_nobody():
    with connection("127.0.0.1") as (client, accepted):
        peer, ours = ends(accepted)
        client.close()
        accepted.close()
        assert [(found.inode, found.uid) for found in answers(peer, ours)] == [(0, 0)]
        assert established(peer, ours) is None


def test_a_socket_bound_to_a_device_is_not_found_rather_than_mistaken():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            found = established(*ends(accepted))
            assert found is None or found.inode == os.fstat(client.fileno()).st_ino


@pytest.mark.parametrize(
    ("local", "remote"), [(("192.0.2.200", 1), ("192.0.2.201", 2)), (("127.0.0.1", 1), ("::1", 2))]
)
def test_nobody_has_ends_of_other_hosts_or_of_two_families(local: diag.End, remote: diag.End):
    assert established(local, remote) is None


def test_text_that_is_no_address_is_refused():
    with pytest.raises(ValueError, match="address"):
        established(("localhost", 1), ("127.0.0.1", 2))


PEER, OURS = ("10.0.0.2", 2222), ("10.0.0.1", 18789)


@pytest.mark.parametrize(
    ("found", "counts"),
    [
        (Socket(ESTABLISHED, PEER, OURS, 1000, 7, 1, 0), True),
        (Socket(LISTEN, PEER, ("0.0.0.0", 0), 1000, 7, 1, 0), False),
        (Socket(LISTEN, PEER, OURS, 1000, 7, 1, 0), False),
        (Socket(6, PEER, OURS, 0, 0, 1, 0), False),
        (Socket(ESTABLISHED, PEER, OURS, 1000, 0, 1, 0), False),
        (Socket(ESTABLISHED, OURS, PEER, 1000, 7, 1, 0), False),
        (Socket(ESTABLISHED, PEER, ("10.0.0.1", 9999), 1000, 7, 1, 0), False),
        (Socket(ESTABLISHED, ("0.0.0.0", 2222), OURS, 1000, 7, 1, 0), False),
    ],
)
def test_only_an_established_socket_with_an_inode_and_both_ends_counts(found: Socket, counts: bool):
    assert believed(found, PEER, OURS) is counts


def test_who_listens_on_a_port_is_told_for_both_families():
    with socket.create_server(("127.0.0.1", 0)) as four:
        port = four.getsockname()[1]
        with socket.create_server(("::1", port), family=socket.AF_INET6) as six:
            inodes = {os.fstat(one.fileno()).st_ino for one in (four, six)}
            assert {one.inode for one in listening(port)} == inodes
