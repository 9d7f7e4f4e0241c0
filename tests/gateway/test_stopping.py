"""Who is still starting leaves at once; who serves is told."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from gateway.stopping import HEARD, Stop


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


@pytest.mark.parametrize("number", [one for one in HEARD if one is not signal.SIGTERM])
async def test_a_signal_for_the_supervisor_ends_nobody_and_says_whom_it_is_for(number: signal.Signals, caplog):
    stop = Stop()
    with trio.open_signal_receiver(*HEARD) as received:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop.serve_signals, received)
            signal.raise_signal(number)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert f"kill -{number.name[3:]} {os.getppid()}" in caplog.text
            assert not stop.reason
            nursery.cancel_scope.cancel()


async def _say_after(stop: Stop, seconds: float) -> None:
    await trio.sleep(seconds)
    stop.say("enough")
