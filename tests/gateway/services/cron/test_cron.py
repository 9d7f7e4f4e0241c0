"""Jobs from making to log: what fires, what is told, what is left behind."""

from __future__ import annotations

import pytest
import trio

from gateway.protocol.errors import Refusal
from tests.support.jobs import BEGIN_MS, open_jobs


@pytest.fixture
async def box(tmp_path):
    async with open_jobs(tmp_path) as box:
        async with trio.open_nursery() as workers:
            await workers.start(box.answer_all)
            yield box
            workers.cancel_scope.cancel()


async def test_a_job_runs_at_each_of_its_slots_once(box, mock_clock):
    job = await box.add()
    await box.pass_time(185)
    entries = await box.log(job["id"])
    first = BEGIN_MS + 60_000
    assert [entry.slot_ms - first for entry in entries] == [0, 60_000, 120_000]
    assert {(entry.status, entry.summary, entry.attempt) for entry in entries} == {("ok", "done", 1)}
    assert [message for _, message in box.answered] == [f"[cron:{job['id']} job] do it"] * 3
    assert (await box.cron.get(job["id"]))["state"]["nextRunAtMs"] == first + 180_000


async def test_each_run_of_an_isolated_job_has_a_session_of_its_own(box, mock_clock):
    job = await box.add()
    await box.pass_time(125)
    entries = await box.log(job["id"])
    assert [entry.session_key for entry in entries] == [
        f"agent:main:cron:{job['id']}:run:{BEGIN_MS + 60_000}", f"agent:main:cron:{job['id']}:run:{BEGIN_MS + 120_000}"
    ]  # fmt: skip


async def test_a_job_that_runs_once_is_gone_afterwards(box, mock_clock):
    job = await box.add(schedule={"kind": "at", "at": BEGIN_MS + 5000})
    assert job["deleteAfterRun"] is True
    await box.pass_time(6)
    assert [entry.status for entry in await box.log()] == ["ok"]
    assert await box.jobs() == []


async def test_what_is_unknown_is_refused_by_its_id(box, mock_clock):
    with pytest.raises(Refusal, match="no cron job"):
        await box.cron.get("nobody")
