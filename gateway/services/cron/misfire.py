"""What to do about a job that has come due, however late that is. Pure.

Owns the policies for slots that went by while nobody was there (a stop, a suspend, a clock put forward): run-once runs
the newest of them and counts the others; skip leaves all out that are late; catch-up runs them one after the other,
oldest first, at most the newest `cap`. Whatever the policy, time goes on: after a decision the next slot is later than
the one decided about, so nothing can loop."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from gateway.protocol.cron import Misfire, Overlap
from gateway.schedules.schedule import Timetable, count_slots, newest_slots
from gateway.services.cron.overlap import Verdict, judge_overlap

GRACE_MS = 60_000
"""A slot counts as late when it is later than this: the clock is looked at at least so often."""
MAX_COUNTED = 100
"""Left out slots are counted up to this: each slot of a calendar costs tens of microseconds."""


class Retry(msgspec.Struct, frozen=True, rename="camel"):
    """A slot whose run failed, to be tried again at `at`."""

    slot: int
    at: int
    attempt: int


class Plan(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is to come for a job. `slot`: the first one nobody has decided about. `notBefore`: the end of a back-off.
    `caughtTo`: slots up to this are being caught up with, and none of them is one too many."""

    slot: int | None = None
    not_before: int = 0
    retry: Retry | None = None
    caught_to: int = 0

    def due(self, offset: int) -> int | None:
        """When the job wants attention; `offset` is its stagger."""
        natural = None if self.slot is None else max(self.slot + offset, self.not_before)
        again = self.retry.at if self.retry else None
        return min((at for at in (natural, again) if at is not None), default=None)


class Rules(msgspec.Struct, frozen=True):
    """How a job wants slots to be dealt with. `once`: it has a single slot, which is never left out."""

    misfire: Misfire = "run-once"
    cap: int = 10
    overlap: Overlap = "skip"
    once: bool = False
    offset: int = 0


class Decision(msgspec.Struct, frozen=True):
    """About one slot: run it, leave it out (`why`), or wait until a run of the job has ended. `missed`: slots before it
    that are left out with it. `plan`: what is to come after that."""

    verdict: Verdict
    slot: int
    plan: Plan
    missed: int = 0
    attempt: int = 1
    why: str = ""


def decide(plan: Plan, table: Timetable, rules: Rules, running: int, now: int) -> Decision | None:
    """What to do now; None when nothing is due."""
    if plan.retry is not None and plan.retry.at <= now:
        again = plan.retry
        verdict = Verdict.WAIT if running else Verdict.FIRE
        return Decision(verdict, again.slot, replace(plan, retry=None), attempt=again.attempt)
    if plan.slot is None or max(plan.slot + rules.offset, plan.not_before) > now:
        return None
    chosen, caught_to = _chosen(plan, plan.slot, table, rules, now)
    late = now - chosen - rules.offset > GRACE_MS
    after = Plan(table.after(chosen), caught_to=caught_to)
    # What a back-off has held up is late when it could have run a minute ago, and did not.
    held_up = now - plan.not_before <= GRACE_MS
    if late and rules.misfire == "skip" and not rules.once and not held_up:
        missed = count_slots(table, plan.slot - 1, chosen - 1, MAX_COUNTED)
        return Decision(Verdict.SKIP, chosen, after, missed, why="missed")
    caught = rules.misfire == "catch-up" and (late or bool(caught_to))
    verdict = judge_overlap(rules.overlap, running, must_run=rules.once or caught)
    why = "already-running" if verdict is Verdict.SKIP else ""
    # A slot that waits is decided about anew, and nobody reads the number until then.
    missed = 0 if verdict is Verdict.WAIT else count_slots(table, plan.slot - 1, chosen - 1, MAX_COUNTED)
    return Decision(verdict, chosen, after, missed, why=why)


def _chosen(plan: Plan, first: int, table: Timetable, rules: Rules, now: int) -> tuple[int, int]:
    """The slot to decide about, and up to where slots are being caught up with. Which slots are too many is found once:
    to look for the newest thousand of a calendar takes a tenth of a second."""
    if first <= plan.caught_to:
        return first, plan.caught_to
    caught = rules.misfire == "catch-up" and not rules.once
    horizon = max(now - rules.offset, first)
    found = newest_slots(table, first - 1, horizon, rules.cap if caught else 1)
    # Rules of a time zone may have changed since the slot was found: it is run all the same, once.
    return (found[0] if found else first), (horizon if caught and len(found) > 1 else 0)
