"""What the end of a run means for its job, cell by cell."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from gateway.protocol.cron import AgentTurn, At, Every, FailureAlert, Job, State
from gateway.services.cron.misfire import Plan, Retry
from gateway.services.cron.outcome import (
    BACKOFF_MS,
    DISABLE_AFTER,
    Result,
    Settled,
    reason_of,
    schedule_failed,
    settle,
    settle_delivery,
)

NOW, SLOT = 1_000_000, 990_000


def job(failures: int = 0, *, once: bool = False, **fields: Any) -> Job:
    schedule = At(SLOT) if once else Every(60_000, 0)
    state = State(consecutive_errors=failures)
    return Job(
        id="j", name="j", enabled=True, created_at_ms=0, updated_at_ms=0, schedule=schedule, state=state,
        session_target="isolated", wake_mode="now", payload=AgentTurn("x"), delete_after_run=once, **fields,
    )  # fmt: skip


def ended(one: Job, status: str, *, error: str | None = None, **more: Any) -> Settled:
    next_slot = None if isinstance(one.schedule, At) else more.pop("next_slot", NOW + 50_000)
    result = Result(status, SLOT, 1, SLOT, NOW, error, reason_of(error), **more)  # type: ignore[arg-type]
    return settle(one, Plan(next_slot), result, 0, None)


@pytest.mark.parametrize(("failures", "pause"), [(index, BACKOFF_MS[min(index, 4)]) for index in range(9)])
def test_a_failing_job_waits_longer_each_time(failures: int, pause: int):
    after = ended(job(failures), "error", error="broken", next_slot=NOW + 1)
    assert after.plan == Plan(NOW + 1, NOW + pause)
    assert after.job.state.consecutive_errors == failures + 1


def test_a_pause_that_ends_before_the_next_slot_changes_nothing():
    assert ended(job(), "error", error="broken").plan == Plan(NOW + 50_000)


def test_what_may_be_over_soon_is_tried_again_before_the_next_slot():
    after = ended(job(), "error", error="HTTP 429: rate limit")
    assert after.plan == Plan(NOW + 50_000, 0, Retry(SLOT, NOW + 30_000, 2))
    assert ended(job(), "error", error="HTTP 429", next_slot=NOW + 20_000).plan == Plan(NOW + 20_000, NOW + 30_000)
    assert ended(job(), "error", error="HTTP 429", again=False).plan == Plan(NOW + 50_000)


@pytest.mark.parametrize(
    ("status", "error", "enabled", "gone", "plan"),
    [
        ("ok", None, False, True, Plan()),
        ("skipped", None, False, False, Plan()),
        ("error", "broken", False, False, Plan()),
        ("error", "connection refused", True, False, Plan(None, 0, Retry(SLOT, NOW + 30_000, 2))),
    ],
)
def test_a_job_that_runs_once(status: str, error: str | None, enabled: bool, gone: bool, plan: Plan):
    after = ended(job(once=True), status, error=error)
    assert (after.job.enabled, after.gone, after.plan) == (enabled, gone, plan)


def test_a_job_that_runs_once_and_is_kept_is_switched_off():
    after = ended(replace(job(once=True), delete_after_run=False), "ok")
    assert (after.job.enabled, after.gone) == (False, False)


def test_too_many_failures_switch_a_job_off_and_one_success_forgives_them():
    off = ended(job(DISABLE_AFTER - 1), "error", error="broken")
    assert off.disabled is not None
    assert off.job.state.auto_disabled is not None
    assert (off.job.enabled, off.job.state.auto_disabled.reason, off.plan) == (False, "consecutive-failures", Plan())
    assert ended(job(DISABLE_AFTER - 1), "ok").job.state.consecutive_errors == 0


def test_what_is_on_its_way_forgives_nothing_yet():
    after = ended(job(3), "ok", on_its_way=True)
    assert (after.job.state.consecutive_errors, after.job.state.last_status) == (3, "ok")
    once = ended(job(once=True), "ok", on_its_way=True)
    assert (once.job.enabled, once.gone) == (False, False)


def delivered(one: Job, error: str | None, plan: Plan, **more: Any) -> Settled:
    result = Result("error" if error else "ok", SLOT, 1, SLOT, NOW, error, reason_of(error), again=False, **more)
    return settle_delivery(one, plan, result, 0, FailureAlert())


def test_a_delivery_decides_whether_a_run_has_failed():
    goes_on = Plan(NOW + 50_000)
    arrived = delivered(job(3), None, goes_on)
    assert (arrived.job.state.consecutive_errors, arrived.plan, arrived.alert) == (0, goes_on, False)
    failed = delivered(job(3), "not delivered: 502", goes_on)
    assert (failed.job.state.consecutive_errors, failed.alert) == (4, True)
    assert failed.plan.retry is None  # to run it again would deliver nothing
    off = delivered(job(DISABLE_AFTER - 1), "not delivered: 502", goes_on)
    assert (off.job.enabled, off.disabled is not None) == (False, True)


@pytest.mark.parametrize(
    ("error", "plan", "scheduled", "gone"),
    [
        (None, Plan(), True, True),
        (None, Plan(), False, False),  # somebody asked for that run
        (None, Plan(NOW + 5), True, False),  # it was given another time meanwhile
        ("not delivered: 404", Plan(), True, False),
    ],
)
def test_a_job_that_runs_once_goes_when_its_result_has_arrived(
    error: str | None, plan: Plan, scheduled: bool, gone: bool
):
    after = delivered(replace(job(once=True), enabled=plan != Plan()), error, plan, scheduled=scheduled)
    assert (after.gone, after.plan) == (gone, plan)


def test_a_job_that_was_given_another_time_while_it_ran_keeps_it():
    one = job(once=True)
    for status, error in (("ok", None), ("error", "broken"), ("skipped", None)):
        result = Result(status, SLOT, 1, SLOT, NOW, error)  # type: ignore[arg-type]
        after = settle(one, Plan(NOW + 9000), result, 0, None)
        assert (after.job.enabled, after.gone, after.plan.slot) == (True, False, NOW + 9000)


def test_a_run_somebody_asked_for_counts_for_nothing_but_success():
    failed = ended(job(3), "error", error="broken", scheduled=False)
    assert (failed.job.state.consecutive_errors, failed.plan) == (3, Plan(NOW + 50_000))
    assert failed.job.state.last_run_status == "error"
    assert ended(job(3), "ok", scheduled=False).job.state.consecutive_errors == 0


@pytest.mark.parametrize("once", [True, False])
def test_a_slot_that_is_to_be_tried_again_outlives_a_run_somebody_asked_for(once: bool):
    plan = Plan(None if once else NOW + 50_000, 0, Retry(SLOT, NOW + 30_000, 2))
    after = settle(job(1, once=once), plan, Result("ok", NOW - 5, 1, NOW - 5, NOW, scheduled=False), 0, None)
    assert (after.job.enabled, after.gone, after.plan) == (True, False, plan)


@pytest.mark.parametrize(
    ("rules", "failures", "told_before", "alert"),
    [
        (None, 5, None, False),
        (FailureAlert(), 0, None, False),
        (FailureAlert(), 1, None, True),
        (FailureAlert(after=4), 2, None, False),
        (FailureAlert(after=4), 3, None, True),
        (FailureAlert(), 5, NOW - 1000, False),
        (FailureAlert(), 5, NOW - 3_600_000, True),
        (FailureAlert(cooldown_ms=500), 5, NOW - 1000, True),
        (FailureAlert(), 5, NOW + 10**9, True),
    ],
)
def test_when_failing_is_told(rules: FailureAlert | None, failures: int, told_before: int | None, alert: bool):
    one = job(failures)
    one = replace(one, state=replace(one.state, last_failure_alert_at_ms=told_before))
    after = settle(one, Plan(NOW + 50_000), Result("error", SLOT, 1, SLOT, NOW, "broken"), 0, rules)
    assert after.alert is alert
    assert after.job.state.last_failure_alert_at_ms == (NOW if alert else told_before)


def test_left_out_slots_count_as_failing_only_where_that_is_said():
    one = replace(job(), state=State(consecutive_skipped=1))
    skipped = Result("skipped", SLOT, 1, SLOT, NOW, "already-running")
    assert settle(one, Plan(), skipped, 0, FailureAlert()).alert is False
    assert settle(one, Plan(), skipped, 0, FailureAlert(include_skipped=True)).alert is True


def test_a_slot_left_out_after_failures_does_not_tell_of_them_again():
    one = job(5)
    skipped = Result("skipped", SLOT, 1, SLOT, NOW, "already-running")
    assert settle(one, Plan(), skipped, 0, FailureAlert(cooldown_ms=0)).alert is False
    assert settle(one, Plan(), skipped, 0, FailureAlert(cooldown_ms=0, include_skipped=True)).alert is True


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("HTTP 429 Too Many Requests", "rate_limit"), ("the model is overloaded", "overloaded"),
        ("the turn took longer than 5 s", "timeout"), ("ECONNRESET", "network"), ("502 Bad Gateway", "server_error"),
        ("UNAVAILABLE: the disk is full", "server_error"), ("no such file", None), (None, None), ("4290 lines", None),
    ],
)  # fmt: skip
def test_errors_are_known_by_their_words(error: str | None, reason: str | None):
    assert reason_of(error) == reason


def test_a_schedule_that_cannot_be_read_switches_a_job_off_in_the_end():
    one = job()
    for count in (1, 2):
        settled = schedule_failed(one, "time zone gone", NOW)
        one = settled.job
        assert (settled.disabled, one.state.schedule_errors, one.enabled) == (None, count, True)
    settled = schedule_failed(one, "time zone gone", NOW)
    assert settled.disabled == "time zone gone"
    assert settled.job.state.auto_disabled is not None
    assert (settled.job.enabled, settled.job.state.auto_disabled.reason) == (False, "schedule-errors")
