"""Patience with silent processes, on a clock that passes by itself."""

from __future__ import annotations

import trio

from supervisor.watch import wait_for_silence


async def test_silence_is_noticed_within_a_tick_of_what_is_allowed(autojump_clock):
    await wait_for_silence(lambda: 0.0, 15)
    assert 15 <= trio.current_time() <= 17


async def test_one_that_beats_is_left_alone(autojump_clock):
    with trio.move_on_after(1000) as patience:
        await wait_for_silence(trio.current_time, 3)
    assert patience.cancelled_caught


async def test_a_judge_that_was_held_up_itself_forgives(nursery, autojump_clock):
    judged = trio.Event()

    async def judge() -> None:
        await wait_for_silence(lambda: 0.0, 15)
        judged.set()

    nursery.start_soon(judge)
    await trio.sleep(10.5)
    autojump_clock.jump(100)  # the machine was busy elsewhere, or this process was stopped
    await trio.sleep(14)
    assert not judged.is_set()
    await trio.sleep(5)
    assert judged.is_set()
