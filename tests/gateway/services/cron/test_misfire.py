"""What becomes of slots that went by: every policy with every lateness, and of runs that go on."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.protocol.cron import Misfire, Overlap
from gateway.schedules.schedule import Once, Pace
from gateway.services.cron.misfire import GRACE_MS, MAX_COUNTED, Plan, Retry, Rules, decide
from gateway.services.cron.overlap import MAX_PARALLEL, Verdict, judge_overlap

MINUTE = 60_000
TABLE = Pace(0, MINUTE)
F, S, W = Verdict.FIRE, Verdict.SKIP, Verdict.WAIT

# policy, now (in minutes): verdict, slot, left out before it, next slot. The first slot nobody decided about is 10.
LATE: list[tuple[Misfire, float, Verdict, float, int, float]] = [
    ("run-once", 10, F, 10, 0, 11),
    ("run-once", 10.9, F, 10, 0, 11),
    ("run-once", 13.5, F, 13, 3, 14),
    ("run-once", 5000.5, F, 5000, MAX_COUNTED, 5001),
    ("skip", 10, F, 10, 0, 11),
    ("skip", 10.9, F, 10, 0, 11),
    ("skip", 13.5, F, 13, 3, 14),
    ("catch-up", 10, F, 10, 0, 11),
    ("catch-up", 13.5, F, 10, 0, 11),
    ("catch-up", 15.5, F, 12, 2, 13),
    ("catch-up", 5000.5, F, 4997, MAX_COUNTED, 4998),
]


@pytest.mark.parametrize(("policy", "now", "verdict", "slot", "missed", "following"), LATE)
def test_a_job_that_is_looked_at_late(
    policy: Misfire, now: float, verdict: Verdict, slot: float, missed: int, following: float
):
    told = decide(Plan(10 * MINUTE), TABLE, Rules(policy, cap=4), 0, round(now * MINUTE))
    assert told is not None
    assert (told.verdict, told.slot, told.missed) == (verdict, slot * MINUTE, missed)
    behind = policy == "catch-up" and now >= 11
    assert told.plan == Plan(round(following * MINUTE), caught_to=round(now * MINUTE) if behind else 0)


@dataclass
class Counted:
    """A slot every minute, and how often one was asked for."""

    asked: int = 0

    def after(self, ms: int) -> int | None:
        self.asked += 1
        return TABLE.after(ms)


def test_which_slots_are_too_many_is_found_once():
    table, rules, now = Counted(), Rules("catch-up", cap=1000), 5000 * MINUTE
    plan, obeyed = Plan(10 * MINUTE), []
    while (told := decide(plan, table, rules, 0, now)) is not None:
        obeyed.append(told.slot // MINUTE)
        plan, now = told.plan, now + 100
        if len(obeyed) == 1:
            table.asked = 0
    assert obeyed == [*range(4001, 5002)]  # and the one that came meanwhile
    assert table.asked < 3 * len(obeyed)
    assert plan == Plan(5002 * MINUTE)


@pytest.mark.parametrize(("minutes", "verdict"), [(100.5, F), (101, F), (101.1, S), (159, S)])
def test_skip_leaves_out_what_is_later_than_the_grace(minutes: float, verdict: Verdict):
    hourly = Pace(100 * MINUTE, 60 * MINUTE)
    told = decide(Plan(100 * MINUTE), hourly, Rules("skip"), 0, round(minutes * MINUTE))
    assert told is not None
    assert (told.verdict, told.slot, told.plan) == (verdict, 100 * MINUTE, Plan(160 * MINUTE))
    assert told.why == ("missed" if verdict is S else "")
    assert GRACE_MS == MINUTE


@pytest.mark.parametrize(("minutes", "verdict"), [(150, F), (151, F), (151.1, S), (219, S)])
def test_skip_runs_what_a_back_off_has_held_up_unless_that_is_over_for_long(minutes: float, verdict: Verdict):
    hourly = Pace(100 * MINUTE, 60 * MINUTE)
    told = decide(Plan(100 * MINUTE, 150 * MINUTE), hourly, Rules("skip"), 0, round(minutes * MINUTE))
    assert told is not None
    assert told.verdict is verdict


def test_a_single_slot_is_never_left_out():
    for policy in ("run-once", "skip", "catch-up"):
        told = decide(Plan(5), Once(5), Rules(policy, once=True), 0, 10**9)
        assert told is not None
        assert (told.verdict, told.slot, told.plan) == (F, 5, Plan(None))


def test_what_is_not_due_is_left_alone():
    assert decide(Plan(10), TABLE, Rules(), 0, 9) is None
    assert decide(Plan(None), TABLE, Rules(), 0, 10**9) is None
    assert decide(Plan(10, not_before=20), TABLE, Rules(), 0, 15) is None
    assert decide(Plan(10), TABLE, Rules(offset=7), 0, 16) is None
    told = decide(Plan(10 * MINUTE), TABLE, Rules(offset=7), 0, 10 * MINUTE + 7)
    assert told is not None
    assert told.slot == 10 * MINUTE


def test_a_slot_tried_again_keeps_its_name_and_what_is_to_come():
    plan = Plan(20 * MINUTE, 0, Retry(5 * MINUTE, 7 * MINUTE, 3))
    told = decide(plan, TABLE, Rules(), 0, 7 * MINUTE)
    assert told is not None
    assert (told.verdict, told.slot, told.attempt, told.plan) == (F, 5 * MINUTE, 3, Plan(20 * MINUTE))
    waiting = decide(plan, TABLE, Rules(), 1, 7 * MINUTE)
    assert waiting is not None
    assert waiting.verdict is W


def test_a_slot_that_new_rules_of_a_zone_do_not_know_is_run_all_the_same():
    told = decide(Plan(10 * MINUTE + 1), TABLE, Rules(), 0, 10 * MINUTE + 5)
    assert told is not None
    assert (told.verdict, told.slot, told.plan) == (F, 10 * MINUTE + 1, Plan(11 * MINUTE))


# policy, unfinished runs, whether the slot must not be left out: what becomes of it.
OVERLAP: list[tuple[Overlap, int, bool, Verdict]] = [
    ("skip", 0, False, F), ("skip", 0, True, F), ("skip", 1, False, S), ("skip", 1, True, W),
    ("wait", 0, False, F), ("wait", 0, True, F), ("wait", 1, False, W), ("wait", 1, True, W),
    ("allow", 0, False, F), ("allow", 0, True, F), ("allow", 1, False, F), ("allow", 1, True, F),
    ("allow", MAX_PARALLEL, False, S), ("allow", MAX_PARALLEL, True, W),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "running", "must_run", "verdict"), OVERLAP)
def test_a_slot_while_the_job_runs(policy: Overlap, running: int, must_run: bool, verdict: Verdict):
    assert judge_overlap(policy, running, must_run=must_run) is verdict


def test_slots_caught_up_on_wait_for_each_other_whatever_the_job_says():
    told = decide(Plan(10 * MINUTE), TABLE, Rules("catch-up", overlap="skip"), 1, 13 * MINUTE)
    assert told is not None
    assert told.verdict is W
    on_time = decide(Plan(10 * MINUTE), TABLE, Rules("catch-up", overlap="skip"), 1, 10 * MINUTE)
    assert on_time is not None
    assert (on_time.verdict, on_time.why) == (S, "already-running")
