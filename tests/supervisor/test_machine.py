"""The life of a unit: every phase meets every event, and two properties that no sequence of events may break."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.machine import EX_CONFIG, Action, Event, Phase, Policy, Unit, next_delay, step

POLICY = Policy()
NOW = 1000.0
LATER = 1e9  # far beyond every deadline

STOPPED = Unit()
STARTING = Unit(Phase.STARTING, wanted=True, alive=True, since=NOW - 1, due=NOW + 19, starts=1)
UNBORN = replace(STARTING, alive=False)
READY = Unit(Phase.READY, wanted=True, alive=True, since=NOW - 30, starts=1)
STOPPING = Unit(Phase.STOPPING, alive=True, since=NOW - 1, due=NOW + 1, starts=1)
KILLING = Unit(Phase.KILLING, alive=True, since=NOW - 1, due=NOW + 1, starts=1)
BACKOFF = Unit(Phase.BACKOFF, wanted=True, since=NOW - 1, due=NOW + 1, deaths=2, starts=3)
FAILED = Unit(Phase.FAILED, since=NOW - 1, starts=1)

Cell = tuple[Unit, Event, Phase, bool, tuple[Action, ...]]
CELLS: list[Cell] = [
    # from, event, to, wanted, actions (DUE is fed when it is due)
    (STOPPED, Event.WANT_UP, Phase.STARTING, True, (Action.SPAWN,)),
    (STOPPED, Event.WANT_DOWN, Phase.STOPPED, False, ()),
    (STOPPED, Event.KILL_NOW, Phase.STOPPED, False, ()),
    (STOPPED, Event.SPAWNED, Phase.STOPPED, False, ()),
    (STOPPED, Event.WAITING, Phase.STOPPED, False, ()),
    (STOPPED, Event.READY, Phase.STOPPED, False, ()),
    (STOPPED, Event.DUE, Phase.STOPPED, False, ()),
    (STOPPED, Event.EXITED, Phase.STOPPED, False, ()),
    (UNBORN, Event.WANT_UP, Phase.STARTING, True, ()),
    (UNBORN, Event.WANT_DOWN, Phase.STOPPING, False, ()),
    (UNBORN, Event.KILL_NOW, Phase.KILLING, False, ()),
    (UNBORN, Event.SPAWNED, Phase.STARTING, True, ()),
    (UNBORN, Event.WAITING, Phase.STARTING, True, ()),
    (UNBORN, Event.READY, Phase.STARTING, True, ()),
    (UNBORN, Event.DUE, Phase.KILLING, True, ()),
    (UNBORN, Event.EXITED, Phase.BACKOFF, True, ()),
    (STARTING, Event.WANT_UP, Phase.STARTING, True, ()),
    (STARTING, Event.WANT_DOWN, Phase.STOPPING, False, (Action.TERM,)),
    (STARTING, Event.KILL_NOW, Phase.KILLING, False, (Action.KILL,)),
    (STARTING, Event.SPAWNED, Phase.STARTING, True, ()),
    (STARTING, Event.WAITING, Phase.STARTING, True, ()),
    (STARTING, Event.READY, Phase.READY, True, ()),
    (STARTING, Event.DUE, Phase.KILLING, True, (Action.KILL,)),
    (STARTING, Event.EXITED, Phase.BACKOFF, True, ()),
    (READY, Event.WANT_UP, Phase.READY, True, ()),
    (READY, Event.WANT_DOWN, Phase.STOPPING, False, (Action.TERM,)),
    (READY, Event.KILL_NOW, Phase.KILLING, False, (Action.KILL,)),
    (READY, Event.SPAWNED, Phase.READY, True, ()),
    (READY, Event.WAITING, Phase.READY, True, ()),
    (READY, Event.READY, Phase.READY, True, ()),
    (READY, Event.DUE, Phase.READY, True, ()),
    (READY, Event.EXITED, Phase.STARTING, True, (Action.SPAWN,)),
    (STOPPING, Event.WANT_UP, Phase.STOPPING, True, ()),
    (STOPPING, Event.WANT_DOWN, Phase.STOPPING, False, ()),
    (STOPPING, Event.KILL_NOW, Phase.KILLING, False, (Action.KILL,)),
    (replace(STOPPING, alive=False), Event.SPAWNED, Phase.STOPPING, False, (Action.TERM,)),
    (STOPPING, Event.WAITING, Phase.STOPPING, False, ()),
    (STOPPING, Event.READY, Phase.STOPPING, False, ()),
    (STOPPING, Event.DUE, Phase.KILLING, False, (Action.KILL,)),
    (STOPPING, Event.EXITED, Phase.STOPPED, False, ()),
    (replace(STOPPING, wanted=True), Event.EXITED, Phase.STARTING, True, (Action.SPAWN,)),
    (KILLING, Event.WANT_UP, Phase.KILLING, True, ()),
    (KILLING, Event.WANT_DOWN, Phase.KILLING, False, ()),
    (KILLING, Event.KILL_NOW, Phase.KILLING, False, (Action.KILL,)),
    (replace(KILLING, alive=False), Event.SPAWNED, Phase.KILLING, False, (Action.KILL,)),
    (KILLING, Event.WAITING, Phase.KILLING, False, ()),
    (KILLING, Event.READY, Phase.KILLING, False, ()),
    (KILLING, Event.DUE, Phase.KILLING, False, (Action.KILL,)),
    (KILLING, Event.EXITED, Phase.STOPPED, False, ()),
    (replace(KILLING, wanted=True), Event.EXITED, Phase.BACKOFF, True, ()),
    (BACKOFF, Event.WANT_UP, Phase.BACKOFF, True, ()),
    (BACKOFF, Event.WANT_DOWN, Phase.STOPPED, False, ()),
    (BACKOFF, Event.KILL_NOW, Phase.STOPPED, False, ()),
    (BACKOFF, Event.SPAWNED, Phase.BACKOFF, True, ()),
    (BACKOFF, Event.WAITING, Phase.BACKOFF, True, ()),
    (BACKOFF, Event.READY, Phase.BACKOFF, True, ()),
    (BACKOFF, Event.DUE, Phase.STARTING, True, (Action.SPAWN,)),
    (BACKOFF, Event.EXITED, Phase.BACKOFF, True, ()),
    (FAILED, Event.WANT_UP, Phase.STARTING, True, (Action.SPAWN,)),
    (FAILED, Event.WANT_DOWN, Phase.FAILED, False, ()),
    (FAILED, Event.KILL_NOW, Phase.FAILED, False, ()),
    (FAILED, Event.SPAWNED, Phase.FAILED, False, ()),
    (FAILED, Event.WAITING, Phase.FAILED, False, ()),
    (FAILED, Event.READY, Phase.FAILED, False, ()),
    (FAILED, Event.DUE, Phase.FAILED, False, ()),
    (FAILED, Event.EXITED, Phase.FAILED, False, ()),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0].phase.value} meets {cell[1].value}")
def test_every_phase_meets_every_event(cell: Cell):
    unit, event, phase, wanted, actions = cell
    after, done = step(unit, event, LATER if event is Event.DUE else NOW, POLICY)
    assert (after.phase, after.wanted, done) == (phase, wanted, actions)


def test_the_table_above_is_whole():
    assert {(cell[0].phase, cell[1]) for cell in CELLS} == {(phase, event) for phase in Phase for event in Event}


def test_a_start_that_says_what_it_waits_for_is_not_given_up():
    waiting, _ = step(STARTING, Event.WAITING, NOW, POLICY)
    assert waiting.due == NOW + POLICY.start_timeout
    assert step(UNBORN, Event.WAITING, NOW, POLICY) == (UNBORN, ())


def test_a_deadline_that_has_not_come_changes_nothing():
    for unit in (STARTING, STOPPING, KILLING, BACKOFF):
        assert step(unit, Event.DUE, NOW, POLICY) == (unit, ())


@pytest.mark.parametrize(
    "unit", [UNBORN, STARTING, READY, replace(KILLING, wanted=True)], ids=lambda unit: unit.phase.value
)
def test_exit_78_is_never_retried(unit: Unit):
    after, actions = step(unit, Event.EXITED, NOW, POLICY, code=EX_CONFIG)
    assert (after.phase, after.wanted, actions) == (Phase.FAILED, False, (Action.GIVE_UP,))


@pytest.mark.parametrize(
    ("deaths", "ready_for", "jitter", "delay"),
    [
        (0, 0.25, 0.5, 0.0),
        (19, 10.0, 0.5, 0.0),
        (20, 10.0, 0.5, 5.0),
        (0, 0.24, 0.5, 0.1),
        (0, 0.0, 0.0, 0.08),
        (0, 0.0, 1.0, 0.12),
        (3, 0.0, 0.5, 0.8),
        (7, 0.0, 0.5, 5.0),
        (7, 0.0, 1.0, 6.0),
        (10**6, 0.0, 0.0, 4.0),
    ],
)
def test_the_delay_after_a_death(deaths: int, ready_for: float, jitter: float, delay: float):
    assert next_delay(deaths, ready_for, jitter, POLICY) == pytest.approx(delay)


def test_it_was_ready_until_it_died_and_not_until_its_death_was_told():
    at_once = replace(READY, since=NOW - 0.5)
    told_late, _ = step(at_once, Event.EXITED, NOW, POLICY, died=NOW - 0.49)
    assert (told_late.phase, told_late.due) == (Phase.BACKOFF, NOW + POLICY.first_delay)
    lived, actions = step(at_once, Event.EXITED, NOW, POLICY, died=NOW - 0.2)
    assert (lived.phase, actions) == (Phase.STARTING, (Action.SPAWN,))


def test_a_minute_of_being_ready_is_a_fresh_start():
    long, _ = step(replace(READY, since=NOW - 60, deaths=6), Event.EXITED, NOW, POLICY)
    short, _ = step(replace(READY, since=NOW - 59, deaths=6), Event.EXITED, NOW, POLICY)
    assert (long.deaths, short.deaths) == (1, 7)


def test_a_unit_that_never_gets_ready_is_tried_for_ever_and_ever_more_slowly():
    unit, _ = step(STOPPED, Event.WANT_UP, 0.0, POLICY)
    now, delays = 0.0, []
    for _ in range(12):
        unit, _ = step(unit, Event.EXITED, now, POLICY, code=1)
        assert unit.phase is Phase.BACKOFF
        assert unit.due is not None
        delays.append(round(unit.due - now, 6))
        now = unit.due
        unit, _ = step(unit, Event.DUE, now, POLICY)
    assert delays == sorted(delays)
    assert delays[-1] == 5.0


class World:
    """A shell that obeys: children exist between a SPAWN that succeeds and their EXITED."""

    def __init__(self) -> None:
        self.unit = Unit()
        self.asked = 0
        self.living = 0
        self.now = 0.0

    def feed(self, event: Event, code: int | None = None, jitter: float = 0.5) -> None:
        self.unit, actions = step(self.unit, event, self.now, POLICY, code=code, jitter=jitter)
        for action in actions:
            if action is Action.SPAWN:
                self.asked += 1
            elif action in (Action.TERM, Action.KILL):
                assert self.living == 1, f"{action} with nobody alive"
        assert self.asked + self.living <= 1, "two children"
        assert self.unit.alive == (self.living == 1)


happenings = st.tuples(
    st.sampled_from(["up", "down", "kill", "born", "stillborn", "ready", "wait", "exit", "exit 78"]),
    st.floats(0, 100),
    st.floats(0, 1),
)


@given(st.lists(happenings, max_size=60))
def test_there_are_never_two_children_and_only_a_living_one_is_signalled(story: list[tuple[str, float, float]]):
    world = World()
    for what, passed, jitter in story:
        world.now += passed
        match what:
            case "up":
                world.feed(Event.WANT_UP)
            case "down":
                world.feed(Event.WANT_DOWN)
            case "kill":
                world.feed(Event.KILL_NOW)
            case "born" if world.asked:
                world.asked, world.living = 0, 1
                world.feed(Event.SPAWNED)
            case "stillborn" if world.asked:
                world.asked = 0
                world.feed(Event.EXITED)
            case "ready" if world.living:
                world.feed(Event.READY)
            case "exit" | "exit 78" if world.living:
                world.living = 0
                world.feed(Event.EXITED, code=EX_CONFIG if what == "exit 78" else 1, jitter=jitter)
            case _:
                world.feed(Event.DUE)


@given(st.lists(happenings, max_size=60))
def test_what_is_not_wanted_comes_to_rest(story: list[tuple[str, float, float]]):
    unit = Unit()
    now = 0.0
    for what, passed, _ in story:
        now += passed
        events = {
            "up": Event.WANT_UP,
            "down": Event.WANT_DOWN,
            "born": Event.SPAWNED,
            "ready": Event.READY,
            "wait": Event.DUE,
        }
        unit, _ = step(unit, events.get(what, Event.EXITED), now, POLICY)
    unit, _ = step(unit, Event.KILL_NOW, now, POLICY)
    unit, _ = step(unit, Event.EXITED, now, POLICY)
    assert unit.phase in (Phase.STOPPED, Phase.FAILED)
    assert not unit.alive
