"""When an agent dies too often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.messages import MAX_REASON_CHARS
from supervisor.quarantine import DEATHS, SECONDS, Quarantine


def test_the_fifth_death_within_a_minute_is_the_one():
    quarantine = Quarantine()
    assert [quarantine.died("main", now) for now in (0, 15, 30, 45, 60)] == [False] * 4 + [True]
    assert quarantine.held["main"] == "5 deaths within 60 s"


def test_five_deaths_in_more_than_a_minute_are_bad_luck():
    quarantine = Quarantine()
    assert not any(quarantine.died("main", now) for now in (0, 16, 31, 46, 61))
    assert quarantine.held == {}


def test_agents_are_counted_apart():
    quarantine = Quarantine()
    assert not any(quarantine.died(agent, 0) for agent in ("main", "scout") for _ in range(4))


def test_who_is_held_is_not_put_there_twice_and_starts_anew_when_released():
    quarantine = Quarantine()
    quarantine.hold("main", "an operator said so")
    assert not any(quarantine.died("main", 0) for _ in range(10))
    assert quarantine.held["main"] == "an operator said so"
    quarantine.release("main")
    quarantine.release("nobody")
    assert [quarantine.died("main", 1) for _ in range(5)] == [False] * 4 + [True]


def test_a_long_reason_is_cut():
    quarantine = Quarantine()
    quarantine.hold("main", "x" * 60_000)
    assert quarantine.held["main"] == "x" * MAX_REASON_CHARS


@given(st.lists(st.floats(0, 1000), max_size=60))
def test_held_means_that_there_was_such_a_minute(times: list[float]):
    quarantine = Quarantine()
    times.sort()
    for now in times:
        quarantine.died("main", now)
    runs = zip(times, times[DEATHS - 1 :], strict=False)
    assert ("main" in quarantine.held) == any(last - first <= SECONDS for first, last in runs)
