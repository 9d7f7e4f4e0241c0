"""A job's next slot looked up anew, when the clock or the rules of a time zone are not what they were. Pure.

Owns the rule: what is due stays due; what lies ahead is the first slot after now; and no back-off ends later than one
that begins now, so that a clock which was wrong by a year does not silence a job for a year. A slot that was obeyed
before the clock was put back is found again, and passed over when its time comes (`steps`)."""

from __future__ import annotations

from msgspec.structs import replace

from gateway.protocol.cron import At
from gateway.services.cron.book import Entry
from gateway.services.cron.misfire import Plan
from gateway.services.cron.outcome import BACKOFF_MS


def reckoned(entry: Entry, now: int) -> Plan:
    """What is to come for a job; nothing changes for one whose schedule cannot be read."""
    plan, latest = entry.plan, now + BACKOFF_MS[-1]
    if plan.retry is not None:
        plan = replace(plan, retry=replace(plan.retry, at=min(plan.retry.at, latest)))
    plan = replace(plan, not_before=min(plan.not_before, latest), caught_to=min(plan.caught_to, now))
    is_due = plan.slot is not None and plan.slot + entry.offset <= now
    if entry.table is None or isinstance(entry.job.schedule, At) or is_due:
        return plan
    return replace(plan, slot=entry.table.after(now - entry.offset))
