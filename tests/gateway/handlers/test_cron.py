"""Cron over the wire: what clients of OpenClaw send and read, and one job named in two ways."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from gateway.protocol.errors import Refusal
from tests.support.calls import Caller
from tests.support.jobs import BEGIN_MS, JobBox, open_jobs

PROBE = {
    "name": "probe", "enabled": True, "schedule": {"kind": "at", "at": "2030-01-01T00:00:00.000Z"},
    "sessionTarget": "main", "wakeMode": "now", "payload": {"kind": "systemEvent", "text": "hello"},
}  # fmt: skip
EVERY = {
    "name": "every1", "schedule": {"kind": "every", "everyMs": 3_600_000}, "sessionTarget": "isolated",
    "payload": {"kind": "agentTurn", "message": "do it", "toolsAllow": ["*"]},
    "delivery": {"mode": "announce", "channel": "last"},
}  # fmt: skip


@pytest.fixture
async def box(tmp_path):
    async with open_jobs(tmp_path) as box, trio.open_nursery() as workers:
        await workers.start(box.answer_all)
        yield box
        workers.cancel_scope.cancel()


@pytest.fixture
def operator(box: JobBox) -> Caller:
    return Caller(box.services)


async def test_a_job_is_made_as_the_published_command_line_makes_it(mock_clock, operator: Caller):
    job = await operator.ask("cron.add", **PROBE)
    told = {name: job[name] for name in PROBE}
    assert (told, job["deleteAfterRun"]) == (PROBE, True)
    assert job["nextRunAtMs"] == job["state"]["nextRunAtMs"] == 1_893_456_000_000
    assert job["configRevision"]
    status = await operator.ask("cron.status")
    assert status == {
        "enabled": True, "triggersEnabled": False, "storePath": status["sqlitePath"], "storage": "sqlite",
        "sqlitePath": status["storePath"], "jobs": 1, "nextWakeAtMs": 1_893_456_000_000,
    }  # fmt: skip


async def test_a_list_is_read_page_by_page(mock_clock, operator: Caller):
    for index in range(5):
        await operator.ask("cron.add", **{**EVERY, "name": f"job {index}"})
    first = await operator.ask("cron.list", includeDisabled=False, limit=2, offset=0, sortBy="name")
    paging = {name: first[name] for name in ("total", "offset", "limit", "hasMore", "nextOffset")}
    assert paging == {"total": 5, "offset": 0, "limit": 2, "hasMore": True, "nextOffset": 2}
    last = await operator.ask("cron.list", limit=2, offset=4, sortBy="name")
    assert (last["hasMore"], last["nextOffset"]) == (False, None)
    assert [job["name"] for job in [*first["jobs"], *last["jobs"]]] == ["job 0", "job 1", "job 4"]
    assert first["snapshotRevision"] == last["snapshotRevision"]


@pytest.mark.parametrize("spelling", ["id", "jobId"])
async def test_a_job_is_seen_changed_run_and_removed_under_both_spellings_of_its_id(
    mock_clock, box: JobBox, operator: Caller, spelling: str
):
    job = await operator.ask("cron.add", **EVERY)
    one: dict[str, Any] = {spelling: job["id"]}
    assert await operator.ask("cron.get", **one) == job
    changed = await operator.ask("cron.update", **one, patch={"name": "other"})
    assert (changed["name"], changed["configRevision"] != job["configRevision"]) == ("other", True)
    run = await operator.ask("cron.run", **one)
    assert (run["ok"], run["enqueued"]) == (True, True)
    await box.pass_time(1)
    (entry,) = (await operator.ask("cron.runs", **one, runId=run["runId"]))["entries"]
    assert (entry["status"], entry["summary"], entry["jobName"], entry["slotMs"]) == ("ok", "done", "other", BEGIN_MS)
    assert await operator.ask("cron.remove", **one) == {"ok": True, "removed": True}
    assert await operator.ask("cron.remove", **one) == {"ok": True, "removed": False}


@pytest.mark.parametrize("named", [{}, {"id": "a", "jobId": "a"}], ids=["not at all", "twice"])
@pytest.mark.parametrize("method", ["cron.get", "cron.run", "cron.remove", "cron.update"])
async def test_a_job_is_named_exactly_once(mock_clock, operator: Caller, method: str, named: dict[str, str]):
    more: dict[str, Any] = {"patch": {}} if method == "cron.update" else {}
    with pytest.raises(Refusal, match="name the job once"):
        await operator.ask(method, **named, **more)


@pytest.mark.parametrize("method", ["cron.get", "cron.run", "cron.update"])
async def test_an_unknown_job_is_refused_with_a_code(mock_clock, operator: Caller, method: str):
    more: dict[str, Any] = {"patch": {}} if method == "cron.update" else {}
    with pytest.raises(Refusal) as refused:
        await operator.ask(method, id="nobody", **more)
    assert refused.value.shape.details == {"code": "CRON_JOB_NOT_FOUND", "jobId": "nobody"}


async def test_another_gateway_process_than_the_expected_one_runs_nothing(mock_clock, box: JobBox, operator: Caller):
    job = await operator.ask("cron.add", **EVERY)
    with pytest.raises(Refusal, match="another gateway process"):
        await operator.ask("cron.run", id=job["id"], expectedProcessInstanceId="0")
    run = await operator.ask("cron.run", id=job["id"])
    await box.pass_time(1)
    again = await operator.ask("cron.run", id=job["id"], expectedProcessInstanceId=run["processInstanceId"])
    assert again["enqueued"]


async def test_a_change_made_on_an_older_state_is_refused(mock_clock, operator: Caller):
    job = await operator.ask("cron.add", **EVERY)
    await operator.ask("cron.update", id=job["id"], patch={"name": "b"}, expectedConfigRevision=job["configRevision"])
    with pytest.raises(Refusal, match="has changed"):
        await operator.ask(
            "cron.update", id=job["id"], patch={"name": "c"}, expectedConfigRevision=job["configRevision"]
        )


async def test_a_session_is_woken_at_once_or_with_its_next_run(mock_clock, box: JobBox, operator: Caller):
    assert await operator.ask("wake", mode="next-heartbeat", text="the door is open") == {"ok": True}
    await box.pass_time(60)
    assert box.answered == []
    assert await operator.ask("wake", mode="now", text="look") == {"ok": True}
    await box.pass_time(1)
    assert [said for _, said in box.answered] == ["System: the door is open\n\nlook"]
    assert await operator.ask("wake", mode="now", text=" ") == {"ok": False}


async def test_who_listens_hears_of_a_job_from_its_making_to_its_end(mock_clock, box: JobBox, operator: Caller):
    job = await operator.ask("cron.add", **{**PROBE, "schedule": {"kind": "at", "at": BEGIN_MS + 5000}})
    await box.pass_time(6)
    heard = [event for event in box.listener.of("cron") if event["jobId"] == job["id"]]
    assert [event["action"] for event in heard] == ["added", "started", "finished"]
    assert heard[0]["job"]["name"] == "probe"
    assert (heard[2]["status"], heard[2]["slotMs"]) == ("ok", BEGIN_MS + 5000)
