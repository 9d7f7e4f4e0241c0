"""Whether a job may run while an earlier run of it goes on. Pure.

Owns the policies: skip leaves the slot out and says so, wait keeps it until the run has ended (what came meanwhile is
then late, and the job's misfire policy decides), allow runs beside it."""

from __future__ import annotations

import enum

from gateway.protocol.cron import Overlap

MAX_PARALLEL = 8
"""Unfinished runs of one job under `allow`; as many as the lane has slots. The next slot is left out."""


class Verdict(enum.Enum):
    """What becomes of a slot."""

    FIRE = "fire"
    SKIP = "skip"
    WAIT = "wait"


def judge_overlap(policy: Overlap, running: int, *, must_run: bool) -> Verdict:
    """`running`: unfinished runs of the job. `must_run`: a slot that may be late and not left out (a job's only one,
    one that is caught up on)."""
    if not running:
        return Verdict.FIRE
    if policy == "allow":
        full = Verdict.WAIT if must_run else Verdict.SKIP
        return Verdict.FIRE if running < MAX_PARALLEL else full
    return Verdict.WAIT if must_run or policy == "wait" else Verdict.SKIP
