"""What the end of a run means for its job: counters, back-off, the next attempt, switching off, telling somebody. Pure.

Owns the numbers of patience (OpenClaw 2026.9.6): how long a failing job waits, after how many failures it is switched
off, and when that is told."""

from __future__ import annotations

import re

import msgspec
from msgspec.structs import replace

from gateway.protocol.cron import At, AutoDisabled, FailureAlert, Job, RunStatus, State
from gateway.services.cron.misfire import Plan, Retry

BACKOFF_MS = (30_000, 60_000, 300_000, 900_000, 3_600_000)
"""Pauses after one, two, … failures in a row; the last one repeats."""
DISABLE_AFTER = 10
"""Failures in a row that switch a job off."""
DISABLE_AFTER_SCHEDULE_ERRORS = 3
"""Times in a row its next slot could not be found."""
ALERT_AFTER = 2
ALERT_COOLDOWN_MS = 3_600_000
MAX_ERROR_CHARS = 2000

_REASONS = (
    ("rate_limit", r"\b429\b|rate.?limit|too many requests"),
    ("overloaded", r"\b529\b|overloaded|at capacity"),
    ("timeout", r"timed? ?out|took longer than|no sign of progress|did not finish within|deadline exceeded"),
    ("network", r"econn\w+|connection (was )?(refused|reset|closed|lost)|network|unreachable|getaddrinfo|dns"),
    ("server_error", r"\b50[0234]\b|internal server error|bad gateway|service unavailable|UNAVAILABLE"),
)
TRANSIENT = frozenset(name for name, _ in _REASONS)
"""Reasons that may be over soon: such a run is tried again."""


class Result(msgspec.Struct, frozen=True):
    """How a run ended. `scheduled`: for a slot, not because somebody asked. `again`: it may be tried again.
    `on_its_way`: what it came to is still to be delivered, and the run may yet turn out to have failed."""

    status: RunStatus
    slot: int
    attempt: int
    run_at: int
    ended_at: int
    error: str | None = None
    reason: str | None = None
    scheduled: bool = True
    again: bool = True
    on_its_way: bool = False


class Settled(msgspec.Struct, frozen=True):
    """The job as it is now; `gone`: it is to be removed. `disabled` says why it was switched off by itself. `alert`:
    its failing is to be told."""

    job: Job
    plan: Plan
    gone: bool = False
    disabled: str | None = None
    alert: bool = False


def reason_of(error: str | None) -> str | None:
    """The kind of an error, where its words show one."""
    return next((name for name, words in _REASONS if error and re.search(words, error, re.IGNORECASE)), None)


def settle(job: Job, plan: Plan, result: Result, offset: int, alerts: FailureAlert | None) -> Settled:
    """A job after one of its runs. `alerts`: the rules of telling, None for none."""
    state = _seen(job.state, result)
    if result.status == "ok":
        errors = state.consecutive_errors if result.on_its_way else 0
        state = replace(state, consecutive_errors=errors, consecutive_skipped=0)
        # A run that somebody asked for is beside the schedule: a slot that is to be tried again stays to be obeyed.
        again = None if result.scheduled else plan.retry
        return _done(job, state, replace(plan, not_before=0, retry=again), result)
    if result.status == "skipped":
        settled = _done(job, replace(state, consecutive_skipped=state.consecutive_skipped + 1), plan, result)
        counts = alerts is not None and alerts.include_skipped
        return _alerted(settled, alerts if counts else None, result.ended_at)
    if not result.scheduled:
        return Settled(replace(job, state=state), plan)
    state = replace(state, consecutive_errors=state.consecutive_errors + 1)
    return _alerted(_failed(job, state, plan, result, offset), alerts, result.ended_at)


def settle_delivery(job: Job, plan: Plan, result: Result, offset: int, alerts: FailureAlert | None) -> Settled:
    """A job after the delivery of a run that had ended well: it has arrived, or that failed and the run with it."""
    if result.status != "ok":
        settled, before = settle(job, plan, result, offset, alerts), job.state
        times = {"last_run_at_ms": before.last_run_at_ms, "last_duration_ms": before.last_duration_ms}
        return with_state(settled, replace(settled.job.state, **times))
    over = isinstance(job.schedule, At) and result.scheduled and _is_over(plan)
    job = replace(job, state=replace(job.state, consecutive_errors=0))
    return Settled(job, plan, gone=over and bool(job.delete_after_run))


def with_state(settled: Settled, state: State) -> Settled:
    """The same with another state of the job."""
    return replace(settled, job=replace(settled.job, state=state))


def _is_over(plan: Plan) -> bool:
    """Whether nothing is to come. Of a job that runs once something is when it was given another time meanwhile."""
    return plan.slot is None and plan.retry is None


def _seen(state: State, result: Result) -> State:
    error = result.error[:MAX_ERROR_CHARS] if result.error else None
    return replace(
        state, last_run_at_ms=result.run_at, last_run_status=result.status, last_status=result.status,
        last_error=error, last_error_reason=result.reason, last_duration_ms=max(0, result.ended_at - result.run_at),
        schedule_errors=0,
    )  # fmt: skip


def _done(job: Job, state: State, plan: Plan, result: Result) -> Settled:
    """A job that ran once is over; any other goes on."""
    if not isinstance(job.schedule, At) or not result.scheduled or not _is_over(plan):
        return Settled(replace(job, state=state), plan)
    gone = bool(job.delete_after_run) and result.status == "ok" and not result.on_its_way
    return Settled(replace(job, state=state, enabled=False), Plan(), gone=gone)


def _failed(job: Job, state: State, plan: Plan, result: Result, offset: int) -> Settled:
    now, failures = result.ended_at, state.consecutive_errors
    if failures >= DISABLE_AFTER:
        off = AutoDisabled("consecutive-failures", now, failures)
        job = replace(job, state=replace(state, auto_disabled=off), enabled=False)
        return Settled(job, Plan(), disabled=f"{failures} runs in a row have failed; the last: {state.last_error}")
    pause_ends = now + BACKOFF_MS[min(failures, len(BACKOFF_MS)) - 1]
    again = Retry(result.slot, pause_ends, result.attempt + 1)
    transient = result.again and result.reason in TRANSIENT
    job = replace(job, state=state)
    if isinstance(job.schedule, At) and _is_over(plan):
        return Settled(job, Plan(None, 0, again)) if transient else Settled(replace(job, enabled=False), Plan())
    natural = None if plan.slot is None else plan.slot + offset
    if transient and (natural is None or pause_ends < natural):
        return Settled(job, replace(plan, not_before=0, retry=again))
    waits = natural is not None and natural < pause_ends
    return Settled(job, replace(plan, not_before=pause_ends if waits else 0, retry=None))


def _alerted(settled: Settled, alerts: FailureAlert | None, now: int) -> Settled:
    """Whether its failing is to be told: often enough in a row, and not told a short while ago."""
    if alerts is None:
        return settled
    state = settled.job.state
    count = state.consecutive_errors + (state.consecutive_skipped if alerts.include_skipped else 0)
    pause = ALERT_COOLDOWN_MS if alerts.cooldown_ms is None else alerts.cooldown_ms
    told = state.last_failure_alert_at_ms
    recently = told is not None and 0 <= now - told < pause
    if count < (alerts.after or ALERT_AFTER) or recently:
        return settled
    job = replace(settled.job, state=replace(state, last_failure_alert_at_ms=now))
    return Settled(job, settled.plan, settled.gone, settled.disabled, alert=True)


def schedule_failed(job: Job, why: str, now: int) -> Settled:
    """Its next slot could not be found (a time zone that is gone): tried again, and switched off in the end."""
    errors = job.state.schedule_errors + 1
    state = replace(job.state, schedule_errors=errors, last_error=why[:MAX_ERROR_CHARS])
    if errors < DISABLE_AFTER_SCHEDULE_ERRORS:
        return Settled(replace(job, state=state), Plan())
    off = AutoDisabled("schedule-errors", now, errors)
    return Settled(replace(job, state=replace(state, auto_disabled=off), enabled=False), Plan(), disabled=why)
