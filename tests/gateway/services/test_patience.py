"""Who waits too long is given up when its time is over, and nobody else."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import trio

from gateway.services.patience import Patience
from gateway.services.timers import Timers


@pytest.fixture
async def patience(nursery):
    timers = Timers()
    nursery.start_soon(timers.serve)
    return Patience(timers)


async def test_each_is_given_up_when_its_own_time_is_over(patience, autojump_clock):
    began, given_up = trio.current_time(), []
    for name, seconds in (("a", 10.0), ("long", 25.0), ("b", 10.0)):
        patience.begin(seconds, lambda name=name: given_up.append((name, round(trio.current_time() - began))))
        await trio.sleep(4)
    await trio.sleep(60)
    assert given_up == [("a", 10), ("b", 18), ("long", 29)]


async def test_what_came_in_time_is_not_given_up_and_what_was_given_up_has_not_come(patience, autojump_clock):
    given_up: list[str] = []
    in_time, late = partial(given_up.append, "in time"), partial(given_up.append, "late")
    patience.begin(10.0, in_time)
    patience.begin(10.0, late)
    await trio.sleep(9)
    assert patience.end(10.0, in_time)
    await trio.sleep(9)
    assert given_up == ["late"]
    assert not patience.end(10.0, late)
    assert not patience.end(10.0, in_time)


async def test_it_goes_on_after_everybody_was_served(patience, autojump_clock):
    given_up: list[str] = []
    for name in ("one", "two"):
        patience.begin(1.0, partial(given_up.append, name))
        await trio.sleep(5)
    assert given_up == ["one", "two"]


async def test_who_begins_as_another_is_given_up_has_its_whole_time(patience, autojump_clock):
    times: list[float] = []

    def again() -> None:
        times.append(trio.current_time())
        if len(times) < 3:
            patience.begin(2.0, again)

    patience.begin(2.0, again)
    await trio.sleep(20)
    assert [round(later - earlier) for earlier, later in pairwise(times)] == [2, 2]
