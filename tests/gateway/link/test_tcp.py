"""Bytes over TCP: what is written arrives whole and in order, with TLS and without, and nothing ever waits to write."""

from __future__ import annotations

import contextlib
import socket
import ssl

import pytest
import trio

from gateway.link.base import LinkLost, SlowConsumer
from gateway.link.bounds import Early
from gateway.link.tcp import NotTls, Tcp
from tests.gateway.link.ends import contexts, sockets

BIG = bytes(range(256)) * 20_000


async def read(stream: Tcp, size: int) -> bytes:
    data = bytearray()
    with trio.fail_after(10):
        while len(data) < size:
            chunk = await stream.receive_some()
            assert chunk, "it ended early"
            data += chunk
    return bytes(data)


async def test_what_is_written_arrives_both_ways(ends, nursery):
    server, client = ends
    server.attach(nursery)
    server.write(b"down")
    assert await read(client, 4) == b"down"
    await client.send_all(b"up")
    assert await read(server, 2) == b"up"


async def test_more_than_the_kernel_takes_follows_by_itself_and_in_order(ends, nursery):
    server, client = ends
    server.attach(nursery)
    server.max_buffered = 1 << 30
    server.write(BIG)
    server.write(b"end")
    assert server.unsent > 0
    assert await read(client, len(BIG) + 3) == BIG + b"end"
    assert server.unsent == 0


async def test_before_anybody_is_attached_sending_waits(ends):
    server, client = ends
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, BIG)
        assert await read(client, len(BIG)) == BIG
    assert server.unsent == 0


async def test_both_may_talk_at_once_without_reading_in_between(ends, nursery):
    server, client = ends
    for end in ends:
        end.attach(nursery)
        end.max_buffered = 1 << 30
        end.write(BIG)
    assert await read(client, len(BIG)) == BIG
    assert await read(server, len(BIG)) == BIG


async def test_what_is_corked_leaves_in_one_piece(ends, nursery):
    server, client = ends
    server.attach(nursery)
    server.cork()
    server.write(b"a")
    server.write(b"b")
    await trio.testing.wait_all_tasks_blocked()
    assert server.unsent > 0
    server.uncork()
    assert server.unsent == 0
    assert await read(client, 2) == b"ab"


async def test_who_does_not_read_is_given_up_at_the_bound(ends, nursery):
    server, _ = ends
    server.attach(nursery)
    server.max_buffered = 100_000

    def write_without_end() -> None:
        for _ in range(1000):
            server.write(b"x" * 50_000)

    with pytest.raises(SlowConsumer, match="unread"):
        write_without_end()
    assert server.unsent < 5_200_000  # one piece may exceed it by the kernel's share and a record's


async def test_a_read_that_is_cancelled_loses_nothing(ends):
    server, client = ends
    sent = bytes(range(200))
    received = bytearray()
    client.write(sent)
    with trio.fail_after(10):
        while len(received) < len(sent):
            with trio.CancelScope() as scope:
                scope.cancel()
                received += await server.receive_some(7)
            received += await server.receive_some(7)
    assert bytes(received) == sent


async def test_what_somebody_has_looked_at_is_read_again_first(ends):
    server, client = ends
    client.write(b"behind")
    server.unread(b"ahead ")
    with trio.CancelScope() as scope:
        scope.cancel()
        await server.receive_some(3)
    assert await server.receive_some(3) == b"ahe"
    assert await read(server, 9) == b"ad behind"


async def test_the_end_is_empty_bytes_and_the_other_direction_still_works(ends):
    server, client = ends
    client.half_close()
    client.half_close()
    assert await server.receive_some() == b""
    server.write(b"still here")
    assert await read(client, 10) == b"still here"


async def test_nothing_leaves_once_it_is_sealed(ends):
    server, client = ends
    server.write(b"last")
    server.seal()
    server.write(b"never")
    server.half_close()
    assert await read(client, 4) == b"last"
    assert await client.receive_some() == b""


async def test_closing_wakes_whoever_reads_and_whoever_waits_to_write(ends):
    server, _ = ends
    server.max_buffered = 1 << 30
    server.write(BIG)
    async with trio.open_nursery() as nursery:
        for wait, error in ((server.receive_some, trio.ClosedResourceError), (server.flush, LinkLost)):

            async def expect(wait=wait, error=error):
                with pytest.raises(error):
                    await wait()

            nursery.start_soon(expect)
        await trio.testing.wait_all_tasks_blocked()
        server.close()


async def test_a_closed_one_says_so_however_it_is_used(ends, nursery):
    server, _ = ends
    server.attach(nursery)
    server.close()
    server.close()
    with pytest.raises(trio.ClosedResourceError):
        await server.receive_some()
    with pytest.raises(LinkLost):
        server.write(b"x")
    with pytest.raises(trio.BrokenResourceError):
        await server.send_all(b"x")
    server.cork()
    server.write(b"x")
    with pytest.raises(LinkLost):
        server.uncork()
    with pytest.raises(LinkLost):
        await server.flush()
    server.half_close()
    await server.aclose()


async def test_a_peer_that_resets_is_told_on_either_side(ends):
    server, client = ends
    client._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    with pytest.raises(trio.BrokenResourceError):
        await server.receive_some()
    with pytest.raises(LinkLost):
        server.write(b"x")


async def test_what_may_come_early_ends_the_reading_where_it_is_used_up(ends):
    server, client = ends
    server.early = Early(10)
    client.write(b"x" * 10)
    assert await read(server, 10) == b"x" * 10
    assert not server.overrun
    client.write(b"x")
    assert await server.receive_some() == b""
    assert server.overrun
    server.early = None
    client.write(b"more")
    assert await read(server, 4) == b"more"


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_who_speaks_http_in_the_clear_can_be_told_so(tmp_path):
    ours, theirs = sockets()
    server = Tcp(ours, contexts(tmp_path)[0])
    theirs.send(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(NotTls):
        await server.handshake()
    server.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert await read(Tcp(theirs), 28) == b"HTTP/1.1 400 Bad Request\r\n\r\n"
    server.close()
    theirs.close()


async def test_what_speaks_no_tls_at_all_gets_an_alert(tmp_path):
    ours, theirs = sockets()
    server = Tcp(ours, contexts(tmp_path)[0])
    theirs.send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
    with pytest.raises(trio.BrokenResourceError):
        await server.handshake()
    assert (await read(Tcp(theirs), 1))[:1] == b"\x15"
    server.close()
    theirs.close()


async def test_an_older_tls_is_not_spoken(tmp_path):
    ours, theirs = sockets()
    mine, your = contexts(tmp_path)
    your.maximum_version = ssl.TLSVersion.TLSv1_2
    server = Tcp(ours, mine)
    client = Tcp(theirs, your, server_side=False, server_hostname="gateway.test")
    async with trio.open_nursery() as nursery:
        for end in (server, client):

            async def refused(end=end):
                with pytest.raises(trio.BrokenResourceError):
                    await end.handshake()

            nursery.start_soon(refused)
    server.close()
    client.close()


@pytest.mark.parametrize("size", [0, 1, 100], ids=["at once", "after a byte", "in the middle"])
async def test_a_peer_that_leaves_during_the_handshake_is_noticed(tmp_path, size: int):
    ours, theirs = sockets()
    server = Tcp(ours, contexts(tmp_path)[0])
    hello = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="gateway.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    theirs.send(hello.read()[:size])
    theirs.close()
    with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
        await server.handshake()
    server.close()


async def test_a_connection_cut_without_tls_saying_so_is_an_end(ends):
    server, client = ends
    client._sock.shutdown(socket.SHUT_WR)
    assert await server.receive_some() == b""


async def test_closing_politely_never_waits_for_room(tmp_path):
    """Where the kernel has no room for the goodbye of TLS it is left out; the nursery it would be sent from is gone."""
    ours, theirs = sockets(buffer=4096)
    mine, your = contexts(tmp_path)
    server = Tcp(ours, mine)
    client = Tcp(theirs, your, server_side=False, server_hostname="gateway.test")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.handshake)
        nursery.start_soon(client.handshake)
        server.attach(nursery)
    with contextlib.suppress(BlockingIOError):
        while ours.send(b"x" * 4096):
            pass
    server.half_close()
    assert server.unsent == 0
    server.close()
    client.close()
