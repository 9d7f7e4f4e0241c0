"""Channels: order, descriptors, a peer that does not read, a peer that talks nonsense, ends."""

from __future__ import annotations

import os
import resource
import socket

import pytest
import trio
import trio.testing

from supervisor.channel import MAX_QUEUED, Channel, ChannelFull, pair, receive_blocking, send_blocking
from supervisor.messages import BadMessage, Beat, Born, Notice


@pytest.fixture
async def ends():
    ours, theirs = pair()
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


@pytest.fixture
def null():
    """A descriptor to send along."""
    fd = os.open(os.devnull, os.O_RDONLY)
    yield fd
    os.close(fd)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


async def test_messages_travel_both_ways_in_order(ends):
    channel, theirs = ends
    for pid in range(3):
        send_blocking(theirs, Born(pid))
        channel.send_nowait(Born(pid + 100))
    assert [await channel.receive() for _ in range(3)] == [(Born(pid), []) for pid in range(3)]
    assert [receive_blocking(theirs) for _ in range(3)] == [(Born(pid + 100), []) for pid in range(3)]


async def test_received_descriptors_are_the_receivers_and_not_for_its_children(ends, null):
    channel, theirs = ends
    channel.send_nowait(Beat(), [null, null])
    received = receive_blocking(theirs)
    assert received is not None
    message, descriptors = received
    assert message == Beat()
    assert len(descriptors) == 2
    assert not any(map(os.get_inheritable, descriptors))
    for one in descriptors:
        os.close(one)


async def test_a_descriptor_nobody_claimed_is_closed_by_the_next_receive(ends, null):
    channel, theirs = ends
    send_blocking(theirs, Beat(), [null, null])
    send_blocking(theirs, Beat())
    _, descriptors = await channel.receive()
    claimed, left = descriptors.pop(), descriptors[0]
    assert is_open(left)
    await channel.receive()
    assert is_open(claimed)
    assert not is_open(left)
    os.close(claimed)


async def test_the_end_is_none_on_either_side(ends):
    channel, theirs = ends
    theirs.close()
    assert await channel.receive() is None
    channel.send_nowait(Beat())  # nobody reads it, and that is no error
    channel.close()
    assert await channel.receive() is None
    channel.send_nowait(Beat())
    channel.close()


async def test_a_peer_that_dies_with_unread_messages_is_an_end_like_any_other(ends):
    channel, theirs = ends
    channel.send_nowait(Beat())
    theirs.close()  # with something unread: the kernel reports a reset
    assert await channel.receive() is None


@pytest.mark.parametrize("data", [b"nonsense", b"{}", b'{"t":"Message"}', b'{"t":"Born","age":3}', b"[" * 5000])
async def test_a_peer_that_talks_nonsense_is_cut_off(ends, data, null):
    channel, theirs = ends
    socket.send_fds(theirs, [data], [null])
    with pytest.raises(BadMessage):
        await channel.receive()
    assert channel.closed
    assert await channel.receive() is None


async def test_a_datagram_longer_than_any_message_is_nonsense(ends):
    channel, theirs = ends
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
    theirs.send(b" " * 170_000)
    with pytest.raises(BadMessage):
        await channel.receive()


async def test_what_the_kernel_does_not_take_waits_and_keeps_its_order_and_descriptors(ends, null):
    channel, theirs = ends
    padding = "x" * 1000
    for number in range(600):
        channel.send_nowait(Notice("info", str(number), padding), [null] if number == 599 else [])
    got: list[int] = []
    carried: list[int] = []

    async def read():
        theirs.setblocking(False)
        while len(got) < 600:
            await trio.lowlevel.wait_readable(theirs)
            received = receive_blocking(theirs)
            assert received is not None
            assert isinstance(received[0], Notice)
            got.append(int(received[0].code))
            carried.extend(received[1])

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.receive)  # the queue drains while somebody receives
            await read()
            nursery.cancel_scope.cancel()
    assert got == list(range(600))
    assert len(carried) == 1
    os.close(carried[0])


async def test_what_there_are_no_descriptors_to_keep_is_refused_and_leaves_none_open(ends, null):
    channel, _ = ends
    while not channel._outbox:
        channel.send_nowait(Beat())
    limits, free = resource.getrlimit(resource.RLIMIT_NOFILE), os.dup(null)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, limits[1]))  # one of the two
    try:
        with pytest.raises(OSError, match="Too many open files"):
            channel.send_nowait(Beat(), [null, null])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not is_open(free)


async def test_a_queue_that_starts_while_somebody_already_receives_drains_too(ends):
    channel, theirs = ends
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.receive)
            await trio.testing.wait_all_tasks_blocked()
            for number in range(600):
                channel.send_nowait(Born(number))
            got = 0
            theirs.setblocking(False)
            while got < 600:
                await trio.lowlevel.wait_readable(theirs)
                assert receive_blocking(theirs) == (Born(got), [])
                got += 1
            nursery.cancel_scope.cancel()


async def test_a_peer_that_never_reads_is_given_up_at_a_bound(ends):
    channel, _ = ends

    def send_for_ever():
        for _ in range(MAX_QUEUED + 2000):
            channel.send_nowait(Beat())

    with pytest.raises(ChannelFull):
        send_for_ever()


async def test_closing_ends_a_receive_that_waits(ends):
    channel, _ = ends
    got = []

    async def receive():
        got.append(await channel.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        channel.close()
    assert got == [None]


async def test_a_cancelled_receive_loses_nothing(ends):
    channel, theirs = ends
    send_blocking(theirs, Born(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await channel.receive()
    assert await channel.receive() == (Born(1), [])


async def test_a_message_that_fits_no_datagram_is_refused_at_once(ends):
    channel, _ = ends
    with pytest.raises(BadMessage):
        channel.send_nowait(Notice("info", "long", "x" * 200_000))
