"""Who is still starting leaves at once; who serves is told."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio

from gateway.stopping import Stop


async def test_one_that_waits_for_a_disk_leaves_at_the_first_word(autojump_clock):
    stop = Stop()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_say_after, stop, 5.0)
        with stop.starting:
            await trio.sleep(60)
    assert stop.starting.cancelled_caught
    assert stop.reason == "enough"


async def test_one_that_serves_is_told_and_not_cut_off(autojump_clock):
    stop = Stop()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_say_after, stop, 5.0)
        with stop.starting:
            stop.started()
            await stop.wait()
            await trio.sleep(1)
    assert not stop.starting.cancelled_caught


async def test_a_word_from_before_counts_and_the_first_reason_stands(autojump_clock):
    stop = Stop()
    stop.say("the supervisor stops this gateway")
    stop.say("SIGTERM")
    with stop.starting:
        await trio.sleep(60)
    assert stop.starting.cancelled_caught
    assert stop.reason == "the supervisor stops this gateway"


async def test_a_signal_is_such_a_word():
    async def signals() -> AsyncIterator[int]:
        yield 15

    stop = Stop()
    await stop.serve_signals(signals())
    assert stop.reason == "SIGTERM"
    await stop.wait()


async def _say_after(stop: Stop, seconds: float) -> None:
    await trio.sleep(seconds)
    stop.say("enough")
