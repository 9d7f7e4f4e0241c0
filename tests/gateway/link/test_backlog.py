"""Something waits to be sent: unless it is corked somebody always empties it, and a peer that takes nothing is given up
while one that is only slow is not."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from gateway.link import tcp
from gateway.link.base import PeerSilent
from gateway.link.tcp import Tcp
from gateway.link.websocket import PING_SECONDS, WebSocketLink
from tests.gateway.link.ends import TEXT, Wire, frame, wired
from tests.gateway.link.test_tcp import BIG, read

BACKLOG = 2_000_000
"""More than both kernels take with small buffers, and less than may wait."""


# --- nobody is forgotten ----------------------------------------------------------------------------------------------


async def test_two_may_wait_for_the_same_outbox(ends, nursery):
    server, client = ends
    server.attach(nursery)
    server.write(BIG)
    async with trio.open_nursery() as waiting:
        waiting.start_soon(server.flush)
        waiting.start_soon(server.flush)
        assert await read(client, len(BIG)) == BIG
    assert server.unsent == 0


async def test_what_was_written_before_it_was_attached_leaves_then(ends, nursery):
    server, client = ends
    server.write(BIG)
    server.attach(nursery)
    assert await read(client, len(BIG)) == BIG


async def test_a_write_behind_a_flush_that_was_given_up_takes_the_rest_along(ends, nursery, monkeypatch):
    monkeypatch.setattr(tcp, "MAX_CORKED_BYTES", 1 << 30)  # as if little were left
    server, client = ends
    server.max_buffered = 1 << 30
    server.write(BIG)
    async with trio.open_nursery() as waiting:
        waiting.start_soon(server.flush)
        await trio.testing.wait_all_tasks_blocked()
        server._nursery = nursery
        server.write(b"behind it, ")
        waiting.cancel_scope.cancel()
    server.write(b"the end")
    assert await read(client, len(BIG) + 18) == BIG + b"behind it, the end"


async def test_corking_and_uncorking_in_any_order_forgets_nothing(ends, nursery):
    server, client = ends
    server.attach(nursery)
    server.max_buffered = 1 << 30
    parts = [bytes([number]) * size for number, size in enumerate((1, 300_000, 5, 70_000, 1, 2_000_000, 3))]
    for number, part in enumerate(parts):
        (server.uncork if number % 2 else server.cork)()
        server.write(part)
        await trio.lowlevel.checkpoint()
    server.uncork()
    assert await read(client, sum(map(len, parts))) == b"".join(parts)


# --- who takes nothing ------------------------------------------------------------------------------------------------


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Leaves the kernel time to carry what has been sent, and to say so: up to 40 ms on loopback."""
    return trio.testing.MockClock(autojump_threshold=0.06)


@pytest.fixture
async def behind(nursery, autojump_clock) -> tuple[WebSocketLink, Wire]:
    """A link with a backlog, less than may wait, and the client that should read it."""
    link, wire = await wired(nursery, buffer=65_536)
    link.max_buffered = 2 * BACKLOG
    link.send_nowait(b"x" * BACKLOG)
    pace, autojump_clock.autojump_threshold = autojump_clock.autojump_threshold, math.inf
    await trio.testing.wait_all_tasks_blocked(0.3)  # until the kernels have done with what they take at all
    autojump_clock.autojump_threshold = pace
    assert BACKLOG // 2 < link._stream.unsent < link.max_buffered
    return link, wire


async def silent(link: WebSocketLink, said: str) -> float:
    """When the peer was given up, in seconds from now."""
    start = trio.current_time()

    async def listen() -> None:
        while await link.receive():
            pass

    with pytest.raises(PeerSilent, match=said):
        await listen()
    return trio.current_time() - start


async def test_who_takes_nothing_is_given_up_within_a_minute(behind, autojump_clock):
    link, _ = behind
    assert 30 <= await silent(link, "nothing taken within 25 s") <= 60


async def test_who_takes_nothing_is_given_up_although_it_goes_on_talking(behind, nursery, autojump_clock):
    link, wire = behind

    async def talk() -> None:
        while True:
            wire.stream.write(frame(TEXT, b"again"))
            await trio.sleep(5)

    async with trio.open_nursery() as talking:
        talking.start_soon(talk)
        assert 30 <= await silent(link, "nothing taken") <= 60
        talking.cancel_scope.cancel()


@pytest.mark.parametrize("room", [2 * BACKLOG, 1000], ids=["within the bound", "one piece beyond the bound"])
async def test_who_is_only_slow_gets_everything(behind, nursery, autojump_clock, room: int):
    link, wire = behind
    link.max_buffered = room
    ended: list[float] = []

    async def serve() -> None:
        ended.append(await silent(link, "no pong"))

    nursery.start_soon(serve)
    got = 0
    while got < BACKLOG:  # no pong either: it stands behind what has not been read
        got += len(await wire.stream.receive_some())
        await trio.sleep(3)
        assert not ended
    assert trio.current_time() > 4 * PING_SECONDS
    await trio.sleep(3 * PING_SECONDS)
    assert ended, "when it has everything it has to answer"


async def test_who_sends_something_large_need_not_answer_in_between(nursery, autojump_clock):
    link, wire = await wired(nursery, limit=1 << 20)
    ended: list[float] = []

    async def serve() -> None:
        ended.append(await silent(link, "no pong"))

    nursery.start_soon(serve)
    upload = frame(TEXT, b"x" * 300_000)
    for start in range(0, len(upload), 15_000):
        wire.stream.write(upload[start : start + 15_000])
        await trio.sleep(PING_SECONDS / 2)
        assert not ended
    await trio.sleep(3 * PING_SECONDS)
    assert ended


async def test_who_takes_everything_and_says_nothing_is_given_up(nursery, autojump_clock):
    link, _ = await wired(nursery)

    async def tell(stream: Tcp) -> None:
        await trio.sleep(0.5)
        while stream._sock.fileno() >= 0:
            link.send_nowait(b"news")
            await trio.sleep(2)

    nursery.start_soon(tell, link._stream)
    assert await silent(link, "no pong within 25 s") <= 60
