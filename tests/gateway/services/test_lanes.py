"""Lanes as facts: caps, one run per session, fairness, and that waiting never locks everybody out."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.services.lanes import Lanes, Ticket, caps_of, lane_of


def lanes_with(cap: int) -> Lanes:
    return Lanes(lambda lane: cap)


def ticket(
    run: str, session: str = "", lane: str = "main", owner: str = "", order: int = 0, sender: str = ""
) -> Ticket:
    session = session or f"session-{run}"
    return Ticket(run, session, lane, owner or session, order, sender or f"sender-{run}")


@pytest.mark.parametrize(
    ("lane", "slots"),
    [("main", 7), ("subagent:1", 3), ("subagent:2", 3), ("cron", 8), ("nested:agent:a:main", 1), ("anything", 1)],
)
def test_the_slots_of_a_lane(lane, slots):
    assert caps_of(7, 3)(lane) == slots


@pytest.mark.parametrize(
    ("wanted", "depth", "lane"),
    [("main", 0, "main"), ("subagent", 1, "subagent:1"), ("subagent", 3, "subagent:3"), ("subagent", 0, "subagent:1")],
)
def test_children_queue_with_those_of_their_own_depth(wanted, depth, lane):
    assert lane_of(wanted, depth) == lane


def test_a_lane_starts_as_many_as_it_has_slots_and_the_next_when_one_ends():
    lanes = lanes_with(2)
    for number in range(3):
        lanes.add(ticket(f"r{number}", order=number))
    assert lanes.start() == ["r0", "r1"]
    assert lanes.start() == []
    lanes.release("r0")
    assert lanes.start() == ["r2"]


def test_a_session_has_one_run_at_a_time_in_whatever_lane():
    lanes = lanes_with(8)
    lanes.add(ticket("a", "s", "main"))
    lanes.add(ticket("b", "s", "nested:s", owner="other"))
    assert lanes.start() == ["a"]
    lanes.release("a")
    assert lanes.start() == ["b"]


def test_messages_of_a_session_keep_their_order_also_when_one_comes_back():
    lanes = lanes_with(8)
    lanes.add(ticket("first", "s", order=1))
    assert lanes.start() == ["first"]
    lanes.add(ticket("second", "s", order=2))
    lanes.release("first")
    lanes.add(ticket("first", "s", order=1))  # its worker died: once more
    assert lanes.start() == ["first"]


def test_what_one_sender_told_a_session_goes_in_order_also_when_a_younger_one_has_a_free_lane():
    lanes = lanes_with(1)
    lanes.add(ticket("elder", "other", "subagent:1", owner="parent", order=1))
    lanes.add(ticket("task", "child", "subagent:1", owner="parent", order=2, sender="parent"))
    lanes.add(ticket("more", "child", "nested:child", owner="parent", order=3, sender="parent"))
    assert lanes.start() == ["elder"]
    lanes.add(ticket("news", "child", "cron", order=4))  # from somebody else: need not wait for the parent's
    assert lanes.start() == ["news"]
    lanes.release("news")
    lanes.release("elder")
    assert lanes.start() == ["task"]
    lanes.release("task")
    assert lanes.start() == ["more"]
    lanes.release("more")
    assert len(lanes) == 0


def test_a_run_that_waits_lends_its_slot_and_takes_it_back_over_the_cap():
    lanes = lanes_with(1)
    lanes.add(ticket("parent"))
    lanes.add(ticket("other"))
    assert lanes.start() == ["parent"]
    lanes.pause("parent")
    assert lanes.start() == ["other"]
    lanes.resume("parent")
    lanes.add(ticket("third"))
    lanes.release("other")
    assert lanes.start() == []  # the parent has the slot again
    lanes.release("parent")
    assert lanes.start() == ["third"]


def test_pausing_twice_and_ending_while_paused_gives_back_one_slot():
    lanes = lanes_with(1)
    lanes.add(ticket("a"))
    lanes.start()
    lanes.pause("a")
    lanes.pause("a")
    lanes.release("a")
    lanes.release("a")
    lanes.add(ticket("b"))
    lanes.add(ticket("c"))
    assert lanes.start() == ["b"]


def test_two_hundred_children_of_one_parent_do_not_starve_another():
    lanes = lanes_with(4)
    for number in range(200):
        lanes.add(ticket(f"big-{number}", lane="subagent:1", owner="big", order=number))
    for number in range(3):
        lanes.add(ticket(f"small-{number}", lane="subagent:1", owner="small", order=1000 + number))
    started: list[str] = []
    while len(started) < 8:
        fresh = lanes.start()
        started += fresh
        for run in fresh:
            lanes.release(run)
    assert [run for run in started if run.startswith("small")] == ["small-0", "small-1", "small-2"]


def test_parents_that_hold_every_slot_and_wait_cannot_lock_out_their_children():
    lanes = Lanes(caps_of(2, 2))
    for depth in range(5):
        lane = lane_of("subagent", depth) if depth else "main"
        for number in range(2):
            lanes.add(ticket(f"{depth}-{number}", lane=lane, owner=f"{depth - 1}-{number}"))
        assert len(lanes.start()) == 2, f"depth {depth} must not wait for the slots its parents hold"


@given(st.integers(1, 6), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=60), st.randoms())
def test_whatever_happens_every_run_starts_once_and_the_owners_take_turns(cap, wanted, dice: random.Random):
    lanes = lanes_with(cap)
    for order, (owner, session) in enumerate(wanted):
        lanes.add(ticket(f"r{order}", f"s{owner}-{session}", owner=f"o{owner}", order=order))
    started: list[str] = []
    running: set[str] = set()
    while len(started) < len(wanted):
        fresh = lanes.start()
        assert fresh or running, "nothing runs and nothing may start"
        started += fresh
        running |= set(fresh)
        assert len(running) <= cap
        sessions = Counter(f"{wanted[int(run[1:])]}" for run in running)
        assert not sessions or max(sessions.values()) == 1
        ended = dice.choice(sorted(running))
        running.remove(ended)
        lanes.release(ended)
    assert sorted(started) == sorted(f"r{order}" for order in range(len(wanted)))
    for session in set(wanted):
        in_order = [int(run[1:]) for run in started if wanted[int(run[1:])] == session]
        assert in_order == sorted(in_order)
    assert len(lanes) == 0
