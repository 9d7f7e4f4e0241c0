"""What is written while the reader is at work on what it has read leaves together; what came in many TLS records is
read at once."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from gateway.link.base import LinkLost
from gateway.link.tcp import MAX_CORKED_BYTES, Tcp
from tests.gateway.link.ends import TEXT, frame, wired


@pytest.fixture
async def at_work(ends, nursery) -> tuple[Tcp, Tcp]:
    """A server that gathers and has just read something, and its client."""
    server, client = ends
    server.attach(nursery, gather=True)
    client.write(b"?")
    assert await server.receive_some() == b"?"
    return server, client


async def test_what_is_written_at_work_leaves_when_the_reader_comes_back(at_work, nursery):
    server, client = at_work
    server.write(b"a")
    server.write(b"b")
    await trio.testing.wait_all_tasks_blocked()
    assert server.unsent > 0
    nursery.start_soon(server.receive_some)
    await trio.testing.wait_all_tasks_blocked()
    assert server.unsent == 0
    assert await client.receive_some() == b"ab"


async def test_while_the_reader_waits_everything_leaves_at_once(at_work, nursery):
    server, client = at_work
    nursery.start_soon(server.receive_some)
    await trio.testing.wait_all_tasks_blocked()
    server.write(b"a")
    assert server.unsent == 0
    assert await client.receive_some() == b"a"


async def test_more_than_a_few_packets_are_not_held_back(at_work):
    server, client = at_work
    for _ in range(MAX_CORKED_BYTES // 1024 + 1):
        server.write(b"x" * 1024)
    assert server.unsent < MAX_CORKED_BYTES
    assert await client.receive_some()


async def test_flushing_does_not_wait_for_the_reader(at_work):
    server, client = at_work
    server.write(b"last words")
    await server.flush()
    assert server.unsent == 0
    assert await client.receive_some() == b"last words"


async def test_after_the_end_nothing_is_gathered(at_work):
    server, client = at_work
    client.half_close()
    assert await server.receive_some() == b""
    server.write(b"a")
    assert server.unsent == 0


async def test_a_reader_that_comes_back_to_a_broken_connection_is_told(at_work):
    server, client = at_work
    server.write(b"a")
    client._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    with pytest.raises(trio.BrokenResourceError):
        await server.receive_some()
    with pytest.raises(LinkLost):
        await server.flush()


async def test_many_small_pieces_are_read_at_once_with_tls_too(ends):
    server, client = ends
    for _ in range(8):  # fewer packets than a new connection may have on their way (RFC 6928)
        client.write(b"x" * 100)
    await trio.testing.wait_all_tasks_blocked()
    assert await server.receive_some() == b"x" * 800


async def test_answers_to_frames_that_came_together_leave_together(nursery):
    link, wire = await wired(nursery)
    wire.stream.write(frame(TEXT, b"1") + frame(TEXT, b"2") + frame(TEXT, b"3"))
    for answer in (b"1", b"2"):
        assert await link.receive() == [answer]
        link.send_nowait(answer)
    assert link._stream.unsent > 0
    assert await link.receive() == [b"3"]
    link.send_nowait(b"3")
    assert [await wire.hear() for _ in range(3)] == [(TEXT, b"1"), (TEXT, b"2"), (TEXT, b"3")]
