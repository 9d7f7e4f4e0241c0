"""The supervisor's side of births, with a zygote of few words on the other end of the factory channel."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from supervisor import kernel
from supervisor.channel import Channel, ChannelFull, close_all, pair, receive_blocking, send_blocking
from supervisor.factory import MOST_PATIENCE, PATIENCE, BirthFailed, Factory, FactoryGone
from supervisor.messages import BadMessage, FactoryReady, Fork, Forked, ForkFailed


class Zygote:
    """Hears what it is asked, and answers when the test says so."""

    def __init__(self) -> None:
        ours, self.socket = pair()
        self.channel = Channel(ours)
        self.heard: list[tuple[Fork, list[int]]] = []

    def ready(self) -> None:
        send_blocking(self.socket, FactoryReady(pid=1))

    async def hears(self) -> Fork:
        await trio.lowlevel.wait_readable(self.socket)
        received = receive_blocking(self.socket)
        assert received is not None
        assert isinstance(received[0], Fork)
        assert len(received[1]) == 3
        self.heard.append((received[0], received[1]))
        return received[0]

    def close(self) -> None:
        self.socket.close()
        for _, descriptors in self.heard:
            close_all(descriptors)


@pytest.fixture
async def zygote():
    zygote = Zygote()
    yield zygote
    zygote.close()
    zygote.channel.close()


@pytest.fixture
def factory():
    return Factory("zygote", worker="tests:worker", gateway="tests:gateway", environment={})


@pytest.fixture
def child():
    process = subprocess.Popen(["sleep", "300"])
    yield process
    process.kill()
    process.wait()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def failure_of(factory: Factory) -> BirthFailed:
    with pytest.raises(BirthFailed) as caught:
        await factory.spawn("worker")
    return caught.value


def serving(factory: Factory, zygote: Zygote, ended: list[str]) -> Callable[..., Awaitable[None]]:
    """A task that serves the zygote and tells why it was given up."""

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        try:
            await factory.serve_zygote(zygote.channel, task_status=task_status)
        except BadMessage as bad:
            ended.append(str(bad))

    return serve


async def test_a_birth_carries_our_ends_and_lets_the_intermediate_go(factory, zygote, child, nursery):
    zygote.ready()
    await nursery.start(factory.serve_zygote, zygote.channel)
    births = []

    async def ask():
        births.append(await factory.spawn("gateway"))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        request = await zygote.hears()
        assert (request.kind, request.supervisor) == ("gateway", os.getpid())
        lifeline, output, acknowledgement = zygote.heard[0][1]
        pidfd = os.pidfd_open(child.pid)
        send_blocking(zygote.socket, Forked(request.id, child.pid), [pidfd])
        os.close(pidfd)
    assert os.read(acknowledgement, 1) == b""
    birth = births[0]
    assert birth.pid == child.pid
    os.write(output, b"hello")
    assert os.read(birth.output, 5) == b"hello"
    birth.channel.send_nowait(FactoryReady(7))
    with socket.socket(fileno=os.dup(lifeline)) as theirs:
        assert receive_blocking(theirs) == (FactoryReady(7), [])
    birth.close()


async def test_a_fork_the_kernel_refused_is_told_in_its_words(factory, zygote, nursery):
    zygote.ready()
    await nursery.start(factory.serve_zygote, zygote.channel)
    async with trio.open_nursery() as asking:

        async def ask():
            assert str(await failure_of(factory)) == "Resource temporarily unavailable"

        asking.start_soon(ask)
        request = await zygote.hears()
        send_blocking(zygote.socket, ForkFailed(request.id, "Resource temporarily unavailable"))


async def test_spawns_wait_for_the_next_zygote_for_a_while(factory, zygote, nursery, autojump_clock):
    outcomes = []

    async def ask():
        outcomes.append(await failure_of(factory))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await trio.sleep(PATIENCE / 2)
        zygote.ready()
        await nursery.start(factory.serve_zygote, zygote.channel)
        await zygote.hears()
        zygote.socket.close()  # and it dies at once
    assert isinstance(outcomes[0], FactoryGone)
    began = trio.current_time()
    assert isinstance(await failure_of(factory), FactoryGone)
    assert trio.current_time() - began == pytest.approx(PATIENCE)


async def test_answers_to_nobody_are_cleared_away(factory, zygote, child, nursery):
    zygote.ready()
    await nursery.start(factory.serve_zygote, zygote.channel)
    async with trio.open_nursery() as asking:
        asking.start_soon(factory.spawn, "worker")
        request = await zygote.hears()
        asking.cancel_scope.cancel()
    pidfd = os.pidfd_open(child.pid)
    send_blocking(zygote.socket, Forked(request.id, child.pid), [pidfd])
    os.close(pidfd)
    send_blocking(zygote.socket, ForkFailed(99, "whose?"))
    with trio.fail_after(5):
        assert await trio.to_thread.run_sync(child.wait) == -9, "a birth nobody wants any more is ended"


async def test_no_descriptor_is_left_by_births_that_failed(factory, zygote, nursery):
    zygote.ready()
    await nursery.start(factory.serve_zygote, zygote.channel)
    before = open_descriptors()
    for _ in range(3):
        async with trio.open_nursery() as asking:
            asking.start_soon(failure_of, factory)
            request = await zygote.hears()
            close_all(zygote.heard.pop()[1])
            send_blocking(zygote.socket, ForkFailed(request.id, "no"))
    assert open_descriptors() == before


async def test_a_supervisor_that_was_held_up_itself_reads_the_answer_first(factory, zygote, nursery, autojump_clock):
    zygote.ready()
    await nursery.start(factory.serve_zygote, zygote.channel)
    for _ in range(20):  # who wakes first is left to chance
        async with trio.open_nursery() as asking:

            async def ask() -> None:
                assert str(await failure_of(factory)) == "busy"

            asking.start_soon(ask)
            request = await zygote.hears()
            send_blocking(zygote.socket, ForkFailed(request.id, "busy"))
            autojump_clock.jump(PATIENCE + 1)


async def test_a_zygote_that_hangs_is_given_up_and_one_that_is_slow_is_not(factory, zygote, autojump_clock):
    ended: list[str] = []
    serve = serving(factory, zygote, ended)

    zygote.ready()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        nursery.start_soon(failure_of, factory)
        request = await zygote.hears()
        nursery.start_soon(failure_of, factory)
        await zygote.hears()
        await trio.sleep(PATIENCE - 1)
        send_blocking(zygote.socket, ForkFailed(request.id, "busy"))
        await trio.sleep(PATIENCE - 1)
        assert ended == []
        await trio.sleep(2)
        assert "said nothing for 10 s" in ended[0]
    assert "no zygote within" in str(await failure_of(factory))


@pytest.mark.parametrize("left", range(6))
async def test_a_birth_there_are_no_descriptors_for_leaves_none_open(factory, zygote, nursery, left: int):
    zygote.ready()
    await nursery.start(factory.serve_zygote, zygote.channel)
    before = open_descriptors()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(left)]
    highest = os.open("/dev/null", os.O_RDONLY)
    close_all([*held, highest])
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, limits[1]))
    try:
        with pytest.raises(BirthFailed, match="Too many open files"):
            await factory.spawn("worker")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert open_descriptors() == before
    assert factory._pending == {}


async def test_a_fresh_interpreter_that_cannot_be_looked_at_leaves_no_descriptor_open(monkeypatch):
    factory = Factory("exec", worker="tests:worker", gateway="tests:gateway", environment={})

    def full(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(kernel, "start_of", full)
    before = open_descriptors()
    with pytest.raises(BirthFailed, match="Too many open files"):
        await factory.spawn("worker")
    assert open_descriptors() == before


async def test_a_birth_for_which_too_many_wait_already_has_failed(factory, zygote, nursery):
    zygote.ready()
    await nursery.start(factory.serve_zygote, zygote.channel)

    def fill() -> None:
        while True:
            zygote.channel.send_nowait(FactoryReady(1))

    with pytest.raises(ChannelFull):
        fill()
    assert "unread" in str(await failure_of(factory))


async def test_a_birth_whose_descriptor_did_not_arrive_has_failed(factory, zygote, nursery, autojump_clock):
    zygote.ready()
    await nursery.start(factory.serve_zygote, zygote.channel)
    with trio.fail_after(PATIENCE / 2):
        async with trio.open_nursery() as asking:
            asking.start_soon(failure_of, factory)
            send_blocking(zygote.socket, Forked((await zygote.hears()).id, 17))


async def test_a_birth_that_hangs_is_given_up_however_much_the_zygote_says_to_others(factory, zygote, autojump_clock):
    ended: list[str] = []
    serve = serving(factory, zygote, ended)

    async def stuck() -> None:
        ended.append(str(await failure_of(factory)))

    zygote.ready()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        nursery.start_soon(stuck)
        await zygote.hears()  # whoever forks it was stopped
        for _ in range(int(MOST_PATIENCE / PATIENCE * 2)):
            assert ended == []
            nursery.start_soon(failure_of, factory)
            send_blocking(zygote.socket, ForkFailed((await zygote.hears()).id, "busy"))
            await trio.sleep(PATIENCE / 2)
        await trio.sleep(1)
        assert len(ended) == 2, "the birth, and the zygote with whoever forks it"
