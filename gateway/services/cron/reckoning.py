"""A job's next slot looked up anew, when the clock or the rules of a time zone are not what they were. Pure.

Owns the rule: what is due stays due; what lies ahead is the first slot that nobody has obeyed; and no back-off ends
later than one that begins now, so that a clock which was wrong by a year does not silence a job for a year."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from gateway.protocol.cron import At
from gateway.services.cron.book import Entry
from gateway.services.cron.misfire import Plan
from gateway.services.cron.outcome import BACKOFF_MS

MAX_TAKEN = 100_000
"""Slots in a row that were obeyed already, when a clock was put back."""


def reckoned(entry: Entry, now: int, is_taken: Callable[[str, int], bool]) -> Plan:
    """What is to come for a job whose schedule can be read. `is_taken` says which slots were obeyed."""
    plan, latest = entry.plan, now + BACKOFF_MS[-1]
    if plan.retry is not None:
        plan = replace(plan, retry=replace(plan.retry, at=min(plan.retry.at, latest)))
    plan = replace(plan, not_before=min(plan.not_before, latest))
    if isinstance(entry.job.schedule, At) or (plan.slot is not None and plan.slot + entry.offset <= now):
        return plan
    return replace(plan, slot=_first_free(entry, now - entry.offset, is_taken))


def _first_free(entry: Entry, after: int, is_taken: Callable[[str, int], bool]) -> int | None:
    """The first slot after an instant that nobody has obeyed: after a clock was put back, some have been."""
    assert entry.table is not None
    slot = entry.table.after(after)
    for _ in range(MAX_TAKEN):
        if slot is None or not is_taken(entry.job.id, slot):
            break
        slot = entry.table.after(slot)
    return slot
