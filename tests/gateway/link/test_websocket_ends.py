"""How a WebSocket ends: who closes first, what is told, what comes behind it, silence, and being cut off anywhere."""

from __future__ import annotations

import socket
import struct

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gateway.link import websocket
from gateway.link.base import LinkLost, PeerSilent
from gateway.link.tcp import Tcp
from gateway.link.websocket import MAX_REASON_BYTES, PING_SECONDS, cut
from gateway.protocol.errors import CloseReason
from tests.gateway.link.ends import CLOSE, PING, PONG, REQUEST, TEXT, Wire, frame, linked, sockets, wired

SOON = 5


async def test_when_the_peer_closes_first_it_is_answered_and_that_is_the_end(pair):
    server, client = pair
    client.part(1000, "done")
    assert await server.receive() == []
    assert server.closed == (1000, "done")
    with trio.fail_after(SOON):
        await client.flush()
    with pytest.raises(LinkLost):
        server.send_nowait(b"too late")


@pytest.mark.parametrize("before", [b"", frame(TEXT, b"x")], ids=["alone", "behind a text"])
async def test_a_close_frame_is_answered_with_its_own_code(nursery, before: bytes):
    link, wire = await wired(nursery)
    wire.stream.write(before + frame(CLOSE, struct.pack("!H", 4321)))
    assert await wire.hear_close() == (4321, "")
    with pytest.raises(EOFError):
        await wire.hear()
    link.close()


async def test_when_we_close_first_the_peer_reads_code_and_text_and_the_end_waits_for_it(pair):
    server, client = pair
    server.send_nowait(b"before")
    server.farewell(CloseReason.DEVICE_GONE, "client invalidated: device-token-rotated")
    server.send_nowait(b"after")

    async def hear() -> None:
        assert await client.receive() == [b"before"]
        assert await client.receive() == []
        assert client.closed == (4001, "client invalidated: device-token-rotated")

    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            await server.flush()
    server.close()


async def test_both_may_close_at_once(pair):
    server, client = pair
    server.part(1012, "service restart")
    client.part(1000, "")
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.flush)
            nursery.start_soon(client.flush)
            await client.receive()
            server.close()


async def test_a_close_frame_is_sent_once(nursery):
    link, wire = await wired(nursery)
    wire.stream.write(frame(TEXT, b"unread") + frame(CLOSE, struct.pack("!H", 1000)))
    link.part(1008, "first")
    link.part(1011, "second")
    with trio.fail_after(SOON):
        nursery.start_soon(link.flush)
        assert await wire.hear_close() == (1008, "first")
        with pytest.raises(EOFError):
            await wire.hear()
    link.close()


@pytest.mark.parametrize("behind", [PING, PONG, TEXT, CLOSE])
async def test_nothing_behind_a_close_frame_breaks_anything_but_its_own_link(nursery, behind: int):
    """The Ping of trio-websocket's issue 184: with its own server it ends the process."""
    link, wire = await wired(nursery)
    other, second = await wired(nursery)
    wire.stream.write(frame(CLOSE, struct.pack("!H", 1000)) + frame(behind, b"\x03\xe8"))
    assert await link.receive() == []
    second.stream.write(frame(TEXT, b"well"))
    assert await other.receive() == [b"well"]
    link.close()
    other.close()


async def test_a_ping_in_answer_to_our_close_frame_breaks_nothing(nursery):
    link, wire = await wired(nursery)
    link.part(1008, "no")
    assert await wire.hear_close() == (1008, "no")
    wire.stream.write(frame(PING, b"?") + frame(CLOSE, struct.pack("!H", 1008)) + frame(PING, b"?"))
    with trio.fail_after(SOON):
        await link.flush()
    link.close()


async def test_a_peer_that_vanishes_without_a_word_is_an_end(nursery):
    link, wire = await wired(nursery)
    wire.stream.close()
    assert await link.receive() == []
    link.farewell(CloseReason.PEER_CLOSED, "")
    with trio.fail_after(SOON):
        await link.flush()
    link.close()


async def test_a_peer_that_resets_is_an_end(nursery):
    link, wire = await wired(nursery)
    wire.stream._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.stream.close()
    assert await link.receive() == []
    link.close()


async def test_half_a_frame_is_no_body(nursery):
    link, wire = await wired(nursery)
    wire.stream.write(frame(TEXT, b"whole") + frame(TEXT, b"half")[:-1])
    wire.stream.half_close()
    assert await link.receive() == [b"whole"]
    assert await link.receive() == []
    link.close()


async def test_closing_ends_whoever_waits(nursery):
    link, _ = await wired(nursery)

    async def close() -> None:
        await trio.testing.wait_all_tasks_blocked()
        link.close()
        link.close()

    nursery.start_soon(close)
    assert await link.receive() == []


async def test_last_words_reach_a_peer_that_went_on_talking(nursery):
    """Closing with something unread would reset the connection, and the Close frame with it."""
    link, wire = await wired(nursery)
    wire.stream.max_buffered = 1 << 30
    wire.stream.attach(nursery)
    wire.stream.write(frame(TEXT, b"x" * 1000) * 200)
    link.part(1008, "enough")
    with trio.move_on_after(SOON):
        async with trio.open_nursery() as ending:
            ending.start_soon(link.flush)
            assert await wire.hear_close() == (1008, "enough")
            wire.stream.close()
    link.close()


@pytest.mark.parametrize("text", ["a" * 200, "ä" * 100, "", "\U0001f512" * 40])
async def test_a_reason_is_cut_between_characters(nursery, text: str):
    link, wire = await wired(nursery)
    link.part(1008, text)
    code, told = await wire.hear_close()
    assert (code, text.startswith(told)) == (1008, True)
    assert len(told.encode()) <= MAX_REASON_BYTES
    assert len(told.encode()) > MAX_REASON_BYTES - 4 or told == text
    link.close()


@given(st.text(), st.integers(0, 200))
def test_what_is_cut_is_the_longest_beginning_that_fits(text: str, most: int):
    told = cut(text, most).decode()
    assert text.startswith(told)
    assert len(told.encode()) <= most
    assert told == text or len(text[: len(told) + 1].encode()) > most


async def test_details_are_told_only_where_the_peer_may_know_them(nursery):
    for reason, said in (
        (CloseReason.NOT_PAIRED, (1008, "the detail")),
        (CloseReason.SLOW_CONSUMER, (1008, "slow consumer")),
        (CloseReason.HELLO_TIMEOUT, (1000, "")),
        (CloseReason.SHUTDOWN, (1012, "service restart")),
        (CloseReason.INTERNAL, (1011, "internal error")),
    ):
        link, wire = await wired(nursery)
        link.farewell(reason, "the detail")
        assert await wire.hear_close() == said
        link.close()


# --- silence ----------------------------------------------------------------------------------------------------------


async def test_a_peer_that_answers_no_ping_is_given_up(nursery, autojump_clock):
    link, wire = await wired(nursery)
    start = trio.current_time()
    with pytest.raises(PeerSilent):
        await link.receive()
    assert trio.current_time() - start == pytest.approx(2 * PING_SECONDS)
    kind, _ = await wire.hear()
    assert kind == PING
    link.close()


async def test_two_silent_ends_that_answer_pings_stay(nursery, autojump_clock):
    server, client = await linked(nursery)
    await trio.sleep(20 * PING_SECONDS)
    client.send_nowait(b"still here")
    assert await server.receive() == [b"still here"]
    server.close()
    client.close()


async def test_a_link_cancelled_in_the_middle_of_anything_leaves_no_task_behind(nursery):
    for step in range(30):
        ours, theirs = sockets()
        wire, server = Wire(theirs), Tcp(ours)
        async with trio.open_nursery() as life:
            life.cancel_scope.deadline = trio.current_time() + 1

            async def live(life=life, server=server):
                link = (await websocket.accept(life, server, limit=1000)).attach(life)
                while bodies := await link.receive():
                    link.send_nowait(bodies[0])

            life.start_soon(live)
            wire.stream.write(REQUEST + frame(TEXT, b"x") * 3)
            for _ in range(step):
                await trio.lowlevel.checkpoint()
            life.cancel_scope.cancel()
        server.close()
        wire.stream.close()
