"""A clock that goes forward and back, gateways that stop and start: no slot twice, none lost, no silence, no loop."""

from __future__ import annotations

import random
import threading
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio
import trio.testing

from gateway.protocol.cron import Cron as CronSchedule
from gateway.protocol.cron import Every
from gateway.schedules.schedule import slots, timetable_of
from gateway.services.cron.misfire import MAX_COUNTED
from gateway.store import cron as rows
from tests.support.jobs import BEGIN_MS, Clock, JobBox, on_full_disk, open_jobs

DAY = 86_400.0
EVENT = {"kind": "systemEvent", "text": "x"}
QUIET: dict[str, Any] = {"sessionTarget": "main", "payload": EVENT, "wakeMode": "next-heartbeat"}
"""A job whose run is over in the transaction that obeys its slot."""


async def forget_words(box: JobBox) -> None:
    await box.services.database.write(lambda db: db.execute("DELETE FROM cron_words").rowcount)


async def obeyed(box: JobBox, job_id: str) -> list[int]:
    rows = box.services.database.read(
        lambda db: db.execute("SELECT slot FROM cron_slots WHERE job = ? ORDER BY slot", (job_id,)).fetchall()
    )
    return [slot for (slot,) in rows]


async def test_a_year_with_a_clock_that_jumps_back_and_forth_obeys_every_slot_once(tmp_path, mock_clock):
    berlin = CronSchedule("30 2 * * *", "Europe/Berlin")
    rng = random.Random(5)
    async with open_jobs(tmp_path) as box:
        wide: dict[str, Any] = {"misfire": "catch-up", "misfireCap": 1000, **QUIET}
        daily = await box.add(**wide, schedule={"kind": "cron", "expr": "30 2 * * *", "tz": "Europe/Berlin"})
        pace = await box.add(**wide, schedule={"kind": "every", "everyMs": 100 * 3_600_000})
        newest = box.now
        while box.now < BEGIN_MS + 365 * DAY * 1000:
            await box.pass_time(rng.uniform(3600, 12 * DAY))
            newest = max(newest, box.now)
            box.clock.step(rng.choice([3600, -3600, -7, 40, 2 * DAY, -2 * DAY, 0]))
            await box.pass_time(61)  # a step is noticed within a minute
            newest = max(newest, box.now)
            await forget_words(box)
        for job, table in (
            (daily, timetable_of(berlin, ZoneInfo("Europe/Berlin"), 0)),
            (pace, timetable_of(Every(100 * 3_600_000), ZoneInfo("UTC"), BEGIN_MS)),
        ):
            assert await obeyed(box, job["id"]) == list(slots(table, job["createdAtMs"], newest))
        entries = [entry for entry in await box.log(daily["id"])]
        assert {entry.status for entry in entries} == {"ok"}


@pytest.mark.parametrize("policy", ["run-once", "skip", "catch-up"])
@pytest.mark.parametrize("step", [-400 * DAY, -DAY, -61.0, 61.0, DAY, 400 * DAY])
async def test_after_any_step_a_job_goes_on_within_its_pace(tmp_path, mock_clock, policy: str, step: float):
    async with open_jobs(tmp_path) as box:
        job = await box.add(**QUIET, misfire=policy, schedule={"kind": "every", "everyMs": 600_000})
        await box.pass_time(1250)
        assert len(await obeyed(box, job["id"])) == 2
        box.clock.step(step)
        await box.pass_time(61)
        before = set(await obeyed(box, job["id"]))
        box.clock.step(0)
        await box.pass_time(1200 if step > 0 else 1800)
        assert len(set(await obeyed(box, job["id"])) - before) in (1, 2, 3)


async def held(box: JobBox, *steps: float) -> None:
    """The clock is stepped so, and each step is noticed, while the disk is busy."""
    let_go = threading.Event()
    box.services.database.post(lambda db: let_go.wait(10))
    for step in steps:
        box.clock.step(step)
        box.services.cron.reload()
        await trio.testing.wait_all_tasks_blocked()
    let_go.set()
    await box.calm()


async def test_what_a_wrong_clock_decided_on_a_busy_disk_does_not_silence_a_job(tmp_path, mock_clock):
    async with open_jobs(tmp_path) as box:
        job = await box.add(**QUIET, schedule={"kind": "every", "everyMs": 600_000})
        await held(box, 400 * DAY, -400 * DAY)
        assert (await box.cron.get(job["id"]))["nextRunAtMs"] <= box.now + 600_000


async def test_a_job_that_is_changed_while_the_clock_is_put_back_is_looked_up_anew(tmp_path, mock_clock):
    async with open_jobs(tmp_path) as box:
        job = await box.add(**QUIET, schedule={"kind": "every", "everyMs": 600_000})
        box.clock.step(400 * DAY)
        await box.pass_time(61)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: box.patch(job["id"], description="changed"))
            await held(box, 0, -400 * DAY)
        assert (await box.cron.get(job["id"]))["nextRunAtMs"] <= box.now + 600_000


async def test_a_step_back_while_the_disk_is_full_silences_nobody(
    tmp_path, mock_clock, monkeypatch: pytest.MonkeyPatch
):
    full = [False]
    monkeypatch.setattr(rows, "put_job", on_full_disk(full, rows.put_job))
    async with open_jobs(tmp_path) as box:
        job = await box.add(**QUIET, schedule={"kind": "every", "everyMs": 3_600_000})
        await box.pass_time(3700)
        full[0] = True
        box.clock.step(-10 * DAY)
        await box.pass_time(61)
        assert (await box.cron.get(job["id"]))["nextRunAtMs"] > box.now + 9 * DAY * 1000
        full[0] = False
        await box.pass_time(3700)
        assert len(await obeyed(box, job["id"])) == 2


async def test_seconds_that_are_lived_again_are_not_obeyed_again(tmp_path, mock_clock):
    async with open_jobs(tmp_path) as box:
        job = await box.add(**QUIET, schedule={"kind": "cron", "expr": "*/10 * * * * *", "tz": "UTC"})
        await box.pass_time(45)
        first = await obeyed(box, job["id"])
        box.clock.step(-30)
        await box.pass_time(25)
        assert await obeyed(box, job["id"]) == first
        await box.pass_time(70)
        times = await obeyed(box, job["id"])
        assert times == list(range(times[0], times[-1] + 1, 10_000))


@pytest.mark.parametrize(
    ("policy", "statuses", "missed"),
    [("run-once", ["ok"], [9]), ("skip", ["skipped"], [9]), ("catch-up", ["ok"] * 4, [6, 0, 0, 0])],
)
async def test_slots_that_went_by_while_the_gateway_was_down(
    tmp_path, mock_clock, policy: str, statuses: list[str], missed: list[int]
):
    clock = Clock()
    async with open_jobs(tmp_path, clock=clock) as box:
        await box.add(**QUIET, misfire=policy, misfireCap=4, schedule={"kind": "every", "everyMs": 3_600_000})
    clock.step(10 * 3600 + 120)
    async with open_jobs(tmp_path, clock=clock, generation=2) as box:
        await box.pass_time(1)
        entries = await box.log()
        assert ([entry.status for entry in entries], [entry.missed for entry in entries]) == (statuses, missed)
        assert entries[-1].slot_ms == BEGIN_MS + 10 * 3_600_000
        (job,) = await box.jobs()
        assert job["nextRunAtMs"] == BEGIN_MS + 11 * 3_600_000


async def test_a_job_whose_time_came_while_the_gateway_was_down_runs_once(tmp_path, mock_clock):
    clock = Clock()
    async with open_jobs(tmp_path, clock=clock) as box:
        await box.add(**QUIET, schedule={"kind": "at", "at": BEGIN_MS + 60_000}, misfire="skip")
    clock.step(40 * DAY)
    async with open_jobs(tmp_path, clock=clock, generation=2) as box:
        await box.pass_time(1)
        assert [entry.status for entry in await box.log()] == ["ok"]


async def test_after_a_week_away_others_get_their_turn_between_the_jobs_that_are_due(tmp_path, mock_clock):
    async with open_jobs(tmp_path) as box:
        for _ in range(256):
            await box.add(**QUIET, schedule={"kind": "cron", "expr": "* * * * *", "tz": "UTC"})
        box.clock.step(7 * DAY)
        box.services.cron.reload()
        turns = 0
        while ((await box.cron.status()).next_wake_at_ms or box.now + 1) <= box.now:
            turns += 1
        assert turns >= 8  # one batch would be over in two
        await box.calm()
        jobs = await box.jobs(limit=200)
        jobs += await box.jobs(limit=200, offset=200)
        assert len(jobs) == 256
        for job in jobs:
            assert await obeyed(box, job["id"]) == [box.now]
            (entry,) = await box.log(job["id"])
            assert (entry.status, entry.missed, job["nextRunAtMs"]) == ("ok", MAX_COUNTED, box.now + 60_000)


async def test_a_run_that_goes_on_through_a_restart_is_noted_when_it_ends(tmp_path, mock_clock):
    clock = Clock()
    async with open_jobs(tmp_path, clock=clock) as box:
        await box.add(schedule={"kind": "every", "everyMs": 3_600_000})
        await box.pass_time(3601)
        assert await box.log() == []
    async with open_jobs(tmp_path, clock=clock, generation=2) as box:
        async with trio.open_nursery() as workers:
            await workers.start(box.answer_all)
            await box.pass_time(5)
            workers.cancel_scope.cancel()
        assert [(entry.status, entry.summary) for entry in await box.log()] == [("ok", "done")]


async def test_a_system_that_is_switched_off_or_stopping_obeys_nothing(tmp_path, mock_clock):
    async with open_jobs(tmp_path, tree={"cron": {"enabled": False}}) as box:
        await box.add(**QUIET)
        await box.pass_time(200)
        assert await box.log() == []
        assert (await box.cron.status()).next_wake_at_ms is None
