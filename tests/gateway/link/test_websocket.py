"""Frames over a WebSocket: what trio-websocket does to a server that trusts it, each trap with its test, and the two
close handshakes."""

from __future__ import annotations

import socket

import pytest
import trio

from gateway.link import websocket
from gateway.link.base import LinkLost, SlowConsumer
from gateway.link.bounds import Early
from gateway.link.tcp import Tcp
from gateway.protocol.errors import CloseReason
from gateway.protocol.frames import BadFrame, FrameTooLarge
from gateway.protocol.limits import MAX_FRAMES_PER_WAKEUP
from tests.gateway.link.ends import BINARY, PING, PONG, REQUEST, TEXT, frame, sockets, wired

SOON = 5


# --- talking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 3_000_000])
async def test_a_body_of_any_size_arrives_as_it_was_both_ways(pair, size: int):
    server, client = pair
    server.limit = 1 << 22
    server.max_buffered = client.max_buffered = 1 << 22
    body = (b"\xc3\xa4b" * (size // 3 + 1))[: size - size % 3] + b"x" * (size % 3)
    for one, other in ((server, client), (client, server)):
        one.send_nowait(body)
        assert await other.receive() == [body]


async def test_what_is_sent_at_once_arrives_in_order(pair):
    server, client = pair
    for number in range(50):
        server.send_nowait(b"%d" % number)
    assert [(await client.receive())[0] for _ in range(50)] == [b"%d" % number for number in range(50)]


async def test_a_receive_that_is_cancelled_loses_nothing(pair):
    server, client = pair
    for number in range(100):
        client.send_nowait(b"%d" % number)
    heard: list[bytes] = []
    while len(heard) < 100:
        with trio.CancelScope() as scope:
            scope.cancel()
            heard += await server.receive()
        heard += await server.receive()
    assert heard == [b"%d" % number for number in range(100)]


async def test_a_text_in_pieces_is_one_body_and_pings_between_them_are_answered(nursery):
    link, wire = await wired(nursery)
    wire.stream.write(frame(TEXT, b"he", final=False) + frame(PING, b"now") + frame(0, b"llo"))
    assert await link.receive() == [b"hello"]
    assert await wire.hear() == (PONG, b"now")
    link.close()


async def test_a_frame_that_arrives_byte_by_byte_is_one_body(nursery):
    link, wire = await wired(nursery)
    for byte in frame(TEXT, "zähe".encode()):
        wire.stream.write(bytes([byte]))
        await trio.lowlevel.checkpoint()
    assert await link.receive() == ["zähe".encode()]
    link.close()


async def test_a_binary_frame_is_no_request(nursery):
    link, wire = await wired(nursery)
    wire.stream.write(frame(BINARY, b"{}"))
    with pytest.raises(BadFrame, match="only text"):
        await link.receive()
    link.close()


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_a_text_over_the_limit_is_refused_and_the_peer_is_told_1009(nursery):
    link, wire = await wired(nursery, limit=100)
    wire.stream.write(frame(TEXT, b"x" * 101))
    with pytest.raises(FrameTooLarge, match="101 bytes"):
        await link.receive()
    link.farewell(CloseReason.HELLO_TOO_LARGE, "x")
    assert await wire.hear_close() == (1009, "preauth payload too large")
    link.close()


async def test_the_limit_counts_bytes_not_characters(nursery):
    link, wire = await wired(nursery, limit=100)
    wire.stream.write(frame(TEXT, "ä".encode() * 51))
    with pytest.raises(FrameTooLarge, match="102 bytes"):
        await link.receive()
    link.close()


@pytest.mark.parametrize("pieces", [1, 40], ids=["one long frame", "a text without end"])
async def test_before_it_is_let_in_a_peer_may_send_little_however_it_is_cut(nursery, pieces: int):
    link, wire = await wired(nursery, early=Early(20_000), buffer=65536)
    size = 40_000 // pieces
    frames = frame(TEXT, b"x" * size, final=False) + frame(0, b"x" * size, final=False) * (pieces - 1)
    nursery.start_soon(wire.stream.send_all, frames)
    with pytest.raises(FrameTooLarge, match="before hello"):
        await link.receive()
    link.farewell(CloseReason.HELLO_TOO_LARGE, "x")
    with trio.move_on_after(SOON):
        nursery.start_soon(link.flush)
        assert await wire.hear_close() == (1009, "preauth payload too large")
        wire.stream.close()
    link.close()


async def test_before_it_is_let_in_a_peer_is_not_listened_to_for_long_however_little_it_says(nursery):
    link, wire = await wired(nursery, early=Early(100_000))
    wire.stream.write(frame(TEXT, b"", final=False) + frame(0, b"", final=False) * 10_000)
    with trio.fail_after(SOON), pytest.raises(FrameTooLarge, match="before hello"):
        await link.receive()
    link.farewell(CloseReason.HELLO_TOO_LARGE, "x")
    await link._stream.flush()
    assert await wire.hear_close() == (1009, "preauth payload too large")
    link.close()


async def test_who_has_been_let_in_and_says_little_very_often_leaves_others_their_turns(nursery):
    link, wire = await wired(nursery, buffer=1 << 20)
    turns, tiny = 0, 6400

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    wire.stream.max_buffered = 1 << 20
    wire.stream.attach(nursery)
    wire.stream.write(frame(TEXT, b"", final=False) + frame(0, b"", final=False) * tiny + frame(0, b"over"))
    nursery.start_soon(somebody_else)
    assert await link.receive() == [b"over"]
    assert turns >= tiny // MAX_FRAMES_PER_WAKEUP


async def test_a_receive_that_is_cancelled_between_two_handfuls_of_frames_loses_nothing(nursery):
    link, wire = await wired(nursery, buffer=1 << 20)
    bodies = [b"%d" % number for number in range(10 * MAX_FRAMES_PER_WAKEUP)]
    wire.stream.attach(nursery)
    wire.stream.write(b"".join(frame(TEXT, body) for body in bodies))
    got: list[bytes] = []
    while len(got) < len(bodies):
        with trio.CancelScope() as scope:
            scope.cancel()
            got += await link.receive()
        with trio.move_on_after(0.001):
            got += await link.receive()
    assert got == bodies


async def test_raising_the_limit_lets_it_in(nursery):
    link, wire = await wired(nursery, early=Early(20_000))
    link.limit = 1 << 20
    wire.stream.max_buffered = 1 << 20
    wire.stream.attach(nursery)
    wire.stream.write(frame(TEXT, b"x" * 500_000))
    assert await link.receive() == [b"x" * 500_000]
    link.close()


async def test_a_text_larger_than_anything_allowed_is_ended_by_the_library_with_1009(nursery, monkeypatch):
    monkeypatch.setattr(websocket, "MAX_PAYLOAD_BYTES", 1000)
    link, wire = await wired(nursery, limit=1000)
    wire.stream.write(frame(TEXT, b"x" * 1001))
    with pytest.raises(FrameTooLarge, match="more than 1000 bytes"):
        await link.receive()
    link.farewell(CloseReason.FRAME_TOO_LARGE, "x")
    code, _ = await wire.hear_close()
    assert code == 1009
    link.close()


async def test_a_consumer_that_does_not_read_is_given_up_at_the_bound(nursery):
    link, _ = await wired(nursery, buffer=65536)
    link.max_buffered = 100_000

    def send_without_end() -> None:
        for _ in range(1000):
            link.send_nowait(b"x" * 10_000)

    with pytest.raises(SlowConsumer):
        send_without_end()
    link.close()


async def test_a_peer_that_pings_and_does_not_read_is_given_up_too(nursery):
    link, wire = await wired(nursery, buffer=4096)
    link.max_buffered = 1000
    wire.stream.max_buffered = 1 << 30
    wire.stream.attach(nursery)
    wire.stream.write(frame(PING, b"x" * 120) * 100_000)
    with trio.fail_after(SOON):
        assert await link.receive() == []
    link.close()
    wire.stream.close()


# --- handshakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST.replace(b"Version: 13", b"Version: 8"),
        REQUEST.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
        REQUEST.replace(b"GET", b"POST"),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x00\xa5 nonsense \r\n\r\n",
        REQUEST[:40],
        b"",
    ],
    ids=["version", "key", "post", "no upgrade", "garbage", "half", "nothing"],
)
async def test_what_is_no_handshake_ends_at_once(nursery, request_: bytes):
    ours, theirs = sockets()
    theirs.send(request_)
    theirs.shutdown(socket.SHUT_WR)
    server = Tcp(ours)
    with trio.fail_after(SOON), pytest.raises(LinkLost):
        await websocket.accept(nursery, server, limit=100)
    server.close()
    theirs.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", "HTTP 503"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "HTTP 403"),
        (b"", "no WebSocket"),
        (b"SSH-2.0-OpenSSH\r\n", "no WebSocket"),
    ],
    ids=["refused with a body", "refused", "hung up", "something else"],
)
async def test_a_server_that_does_not_accept_is_named(nursery, answer: bytes, said: str):
    ours, theirs = sockets()
    ours.send(answer)
    ours.shutdown(socket.SHUT_WR)
    client = Tcp(theirs)
    with trio.fail_after(SOON), pytest.raises(LinkLost, match=said):
        await websocket.connect(nursery, client, host="gateway.test")
    client.close()
    ours.close()


@pytest.mark.parametrize(
    "bytes_",
    [b"\xff" * 4, b"\x81\x01x", frame(3, b"x"), frame(TEXT, b"\xff\xfe"), b"\x81\xff" + b"\xff" * 8],
    ids=["reserved bits", "unmasked", "unknown kind", "no utf-8", "2**63 bytes"],
)  # fmt: skip
async def test_a_broken_frame_ends_its_own_link_only(nursery, bytes_: bytes):
    link, wire = await wired(nursery)
    other, second = await wired(nursery)
    wire.stream.write(bytes_)
    with trio.fail_after(SOON):
        assert await link.receive() == []
    second.stream.write(frame(TEXT, b"well"))
    assert await other.receive() == [b"well"]
    link.close()
    other.close()
