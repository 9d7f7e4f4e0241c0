"""Declared jobs: those of the configuration, and those a caller names by a key of its own."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from gateway.protocol.cron import Owner
from gateway.store import cron as rows
from tests.support.jobs import BEGIN_MS, JobBox, on_full_disk, open_jobs

SPEC: dict[str, Any] = {
    "schedule": {"kind": "every", "everyMs": 60_000}, "payload": {"kind": "agentTurn", "message": "x"}
}  # fmt: skip
OTHER = {**SPEC, "payload": {"kind": "agentTurn", "message": "y"}}


def declaring(**jobs: Any) -> dict[str, Any]:
    return {"cron": {"jobs": jobs}}


async def only_job(box: JobBox) -> dict[str, Any]:
    (job,) = await box.jobs()
    return job


async def test_jobs_of_the_configuration_are_made_once_kept_and_removed(tmp_path, mock_clock):
    async with open_jobs(tmp_path, tree=declaring(tidy=SPEC)) as box:
        job = await only_job(box)  # at once: nobody meets a system that has not heard of them yet
        own = await box.add()
        box.services.reload(box.services.settings)
        await box.calm()
        assert (await box.cron.get(job["id"]))["updatedAtMs"] == job["updatedAtMs"]
    async with open_jobs(tmp_path, generation=2, tree=declaring(tidy=OTHER)) as box:
        assert (await box.cron.get(job["id"]))["payload"]["message"] == "y"
    async with open_jobs(tmp_path, generation=3) as box:
        assert [one["id"] for one in await box.jobs()] == [own["id"]]


async def test_a_job_an_operator_switched_off_stays_off_until_it_is_declared_anew(tmp_path, mock_clock):
    async with open_jobs(tmp_path, tree=declaring(tidy=SPEC)) as box:
        job = await only_job(box)
        await box.patch(job["id"], enabled=False, name="something else")
        box.services.reload(box.services.settings)
        await box.calm()
        after = await only_job(box)
        assert (after["enabled"], after["name"]) == (False, "tidy")  # all but that is the configuration's
    async with open_jobs(tmp_path, generation=2, tree=declaring(tidy=SPEC)) as box:
        assert (await only_job(box))["enabled"] is False
    async with open_jobs(tmp_path, generation=3, tree=declaring(tidy=OTHER)) as box:
        assert (await only_job(box))["enabled"] is True
        await box.patch(job["id"], enabled=False)
        await box.patch(job["id"], enabled=True)
    async with open_jobs(tmp_path, generation=4, tree=declaring(tidy={**OTHER, "enabled": False})) as box:
        assert (await only_job(box))["enabled"] is False


async def test_a_job_its_failing_switched_off_goes_on_when_it_is_mended(tmp_path, mock_clock):
    often = {**SPEC, "schedule": {"kind": "every", "everyMs": 1000}}
    async with open_jobs(tmp_path, tree=declaring(tidy=often)) as box:
        async with trio.open_nursery() as workers:
            await workers.start(box.answer_all, {"status": "failed", "error": "no such file"})
            await box.pass_time(9 * 3700)
            workers.cancel_scope.cancel()
        assert (await only_job(box))["state"]["autoDisabled"]["reason"] == "consecutive-failures"
    async with open_jobs(tmp_path, clock=box.clock, generation=2, tree=declaring(tidy=often)) as box:
        assert (await only_job(box))["enabled"] is False
    async with open_jobs(tmp_path, clock=box.clock, generation=3, tree=declaring(tidy=OTHER)) as box:
        job = await only_job(box)
        assert (job["enabled"], job["state"].get("autoDisabled"), job["state"].get("consecutiveErrors", 0)) == (
            True, None, 0
        )  # fmt: skip


async def test_a_job_of_the_configuration_that_runs_once_is_over_when_it_ran(tmp_path, mock_clock, caplog):
    spec = {**SPEC, "schedule": {"kind": "at", "at": BEGIN_MS + 5000}}
    async with open_jobs(tmp_path, tree=declaring(tea=spec)) as box:
        async with trio.open_nursery() as workers:
            await workers.start(box.answer_all)
            await box.pass_time(6)
            workers.cancel_scope.cancel()
        assert await box.jobs() == []
    async with open_jobs(tmp_path, clock=box.clock, generation=2, tree=declaring(tea=spec)) as box:
        assert await box.jobs() == []
        assert len(await box.log()) == 1
    assert [record.msg for record in caplog.records if record.levelname == "ERROR"] == []


async def test_jobs_the_disk_did_not_take_are_made_when_it_does(tmp_path, mock_clock, monkeypatch: pytest.MonkeyPatch):
    full = [True]
    monkeypatch.setattr(rows, "put_job", on_full_disk(full, rows.put_job))
    async with open_jobs(tmp_path, tree=declaring(tidy=SPEC)) as box:
        assert await box.jobs() == []
        full[0] = False
        await box.pass_time(30)
        assert (await only_job(box))["name"] == "tidy"


async def test_everybody_names_jobs_as_he_likes(tmp_path, mock_clock):
    main, scout = Owner("main", "agent:main:main"), Owner("scout", "agent:scout:main")
    async with open_jobs(tmp_path) as box:
        made = {who: await box.add(who, declarationKey="daily") for who in (main, scout, None)}
        assert [one["created"] for one in made.values()] == [True] * 3
        again = await box.add(scout, declarationKey="daily", payload={"kind": "agentTurn", "message": "z"})
        assert (again["created"], again["updated"], again["job"]["id"]) == (False, True, made[scout]["job"]["id"])
        assert (await box.cron.get(made[main]["job"]["id"]))["payload"]["message"] == "do it"
    async with open_jobs(tmp_path, generation=2) as box:
        assert (await box.add(main, declarationKey="daily"))["updated"] is False
        assert len(await box.jobs()) == 3
