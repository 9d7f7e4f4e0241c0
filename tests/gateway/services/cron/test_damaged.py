"""What is damaged on disk, or came there by an older version, concerns itself alone."""

from __future__ import annotations

import trio

from tests.support.jobs import open_jobs


async def test_an_alert_to_what_is_no_session_stops_nothing(tmp_path, mock_clock):
    alert = {"after": 1, "to": "agent:main:ops"}
    async with open_jobs(tmp_path) as box:
        job = await box.add(failureAlert=alert)
        sql = "UPDATE cron_jobs SET record = replace(record, 'agent:main:ops', 'ops')"  # as it could be made once
        await box.services.database.write(lambda db: db.execute(sql).rowcount)
    async with open_jobs(tmp_path, generation=2) as box:
        async with trio.open_nursery() as workers:
            await workers.start(box.answer_all, {"status": "failed", "error": "broken"})
            await box.pass_time(62)
            workers.cancel_scope.cancel()
        (entry,) = await box.log(job["id"])
        assert (entry.status, entry.error) == ("error", "broken")


async def test_a_run_whose_line_of_the_log_is_damaged_stops_nobody_else(tmp_path, mock_clock):
    async with open_jobs(tmp_path) as box:
        job, other = await box.add(), await box.add(name="other")
        await box.pass_time(61)
        sql = "UPDATE cron_runs SET entry = '{' WHERE job = ?"
        await box.services.database.write(lambda db: db.execute(sql, (job["id"],)).rowcount)
        async with trio.open_nursery() as workers:
            await workers.start(box.answer_all)
            await box.pass_time(1)
            workers.cancel_scope.cancel()
        assert [entry.status for entry in await box.log(other["id"])] == ["ok"]
        assert "CRON_JOB_BROKEN" in [one["code"] for one in box.listener.of("notice")]


async def test_a_damaged_job_keeps_neither_the_others_nor_its_last_run_from_an_end(tmp_path, mock_clock):
    async with open_jobs(tmp_path) as box:
        job, other = await box.add(), await box.add(name="other")
        await box.pass_time(61)
        sql = "UPDATE cron_jobs SET record = '{' WHERE id = ?"
        await box.services.database.write(lambda db: db.execute(sql, (job["id"],)).rowcount)
    async with open_jobs(tmp_path, generation=2) as box:
        async with trio.open_nursery() as workers:
            await workers.start(box.answer_all)
            await box.pass_time(1)
            workers.cancel_scope.cancel()
        assert {entry.job_id: entry.status for entry in await box.log()} == {job["id"]: "ok", other["id"]: "ok"}
        assert [one["name"] for one in await box.jobs()] == ["other"]
