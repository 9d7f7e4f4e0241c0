"""Jobs from making to log: what fires, what is told, what is left behind."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio

from gateway.protocol.calls.cron import CronList, JobPatch
from gateway.protocol.cron import Owner
from gateway.protocol.errors import Refusal
from tests.support.jobs import BEGIN_MS, JobBox, open_jobs

MAIN = "agent:main:main"
ALL = CronList(enabled="all")


@pytest.fixture
async def box(tmp_path):
    async with open_jobs(tmp_path) as box:
        async with trio.open_nursery() as workers:
            await workers.start(box.answer_all)
            yield box
            workers.cancel_scope.cancel()


@pytest.fixture
async def idle(tmp_path):
    """Services whose workers are the test's own, and may take their time to come."""
    tree = {"agents": {"defaults": {"subagents": {"spawnTimeoutMs": 86_400_000}}}}
    async with open_jobs(tmp_path, tree=tree) as box:
        yield box


async def run_once(box: JobBox, **fields: Any) -> dict[str, Any]:
    """A job that runs in five seconds, and the time until it has."""
    job = await box.add(**{"schedule": {"kind": "at", "at": box.now + 5000}, "deleteAfterRun": False, **fields})
    await box.pass_time(6)
    return await box.cron.get(job["id"])


async def test_a_job_runs_at_each_of_its_slots_once(box, mock_clock):
    job = await box.add()
    await box.pass_time(185)
    entries = await box.log(job["id"])
    first = BEGIN_MS + 60_000
    assert [entry.slot_ms - first for entry in entries] == [0, 60_000, 120_000]
    assert {(entry.status, entry.summary, entry.attempt) for entry in entries} == {("ok", "done", 1)}
    assert [message for _, message in box.answered] == [f"[cron:{job['id']} job] do it"] * 3
    assert (await box.cron.get(job["id"]))["state"]["nextRunAtMs"] == first + 180_000


async def test_a_job_that_leaves_a_slot_out_because_it_runs_says_that_it_runs(idle, mock_clock):
    job = await idle.add()
    await idle.pass_time(61)
    began = (await idle.cron.get(job["id"]))["state"]["runningAtMs"]
    await idle.pass_time(60)
    (entry,) = await idle.log(job["id"])
    assert (entry.status, entry.error) == ("skipped", "already-running")
    assert (await idle.cron.get(job["id"]))["state"]["runningAtMs"] == began
    async with trio.open_nursery() as workers:
        await workers.start(idle.answer_all)
        await idle.pass_time(1)
        workers.cancel_scope.cancel()
    assert "runningAtMs" not in (await idle.cron.get(job["id"]))["state"]


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


async def test_a_job_with_a_named_session_uses_it_again(box, mock_clock):
    await box.add(sessionTarget="session:diary")
    await box.pass_time(125)
    assert len(box.texts("agent:main:diary")) == 4


async def test_what_a_job_came_to_is_told_to_the_session_it_is_bound_to(box, mock_clock):
    job = await run_once(box, sessionTarget="current", sessionKey=MAIN)
    assert job["delivery"] == {"mode": "announce", "to": MAIN}
    assert job["state"]["lastDeliveryStatus"] == "delivered"
    (_, said), _ = box.texts(MAIN)
    assert said == f"Cron job job ({job['id']}) has finished.\nResult:\ndone"


async def test_an_isolated_job_succeeds_without_anybody_to_tell(box, mock_clock):
    job = await run_once(box)
    assert job["delivery"] == {"mode": "none"}
    assert (job["state"]["lastRunStatus"], job["state"]["lastDeliveryStatus"]) == ("ok", "not-requested")


@pytest.mark.parametrize(("reply", "why"), [("NO_REPLY", "silent"), ("HEARTBEAT_OK", "silent"), ("", "empty")])
async def test_a_silent_reply_is_told_to_nobody(idle, mock_clock, reply: str, why: str):
    async with trio.open_nursery() as workers:
        await workers.start(idle.answer_all, reply)
        job = await run_once(idle, delivery={"mode": "announce"})
        workers.cancel_scope.cancel()
    assert job["state"]["deliverySuppressionReason"] == why
    assert idle.texts(MAIN) == []


async def test_a_system_event_for_now_is_a_run_of_the_main_session(box, mock_clock):
    await run_once(box, sessionTarget="main", payload={"kind": "systemEvent", "text": "tea is ready"})
    assert box.texts(MAIN) == [("user", "tea is ready"), ("assistant", "done")]


async def test_a_system_event_for_the_next_heartbeat_comes_with_the_sessions_next_run(box, mock_clock):
    event = {"kind": "systemEvent", "text": "tea is ready"}
    job = await run_once(box, sessionTarget="main", wakeMode="next-heartbeat", payload=event)
    assert job["state"]["lastRunStatus"] == "ok"
    assert box.texts(MAIN) == []
    await box.send("hello")
    await box.calm()
    assert box.texts(MAIN) == [("user", "System: tea is ready\n\nhello"), ("assistant", "done")]
    await box.send("again")
    await box.calm()
    assert box.texts(MAIN)[2] == ("user", "again")


async def test_waking_a_session_now_and_with_its_next_run(box, mock_clock):
    assert await box.cron.wake("next-heartbeat", "later") == {"ok": True}
    await box.calm()
    assert box.texts(MAIN) == []
    assert await box.cron.wake("now", "now") == {"ok": True}
    await box.calm()
    assert box.texts(MAIN)[0] == ("user", "System: later\n\nnow")
    assert await box.cron.wake("now", "  ") == {"ok": False}
    told = await box.cron.wake("now", "x", "agent:main:subagent:kid")
    assert told == {"ok": False, "reason": "unwakeable-session-key"}


async def test_words_handed_to_a_run_whose_worker_died_are_handed_to_its_next_attempt(idle, mock_clock):
    await idle.cron.wake("next-heartbeat", "once")
    await idle.send("hello")
    worker, run = await idle.take()
    worker.die()
    worker, again = await idle.take()
    assert (run.message, again.message, again.attempt) == ("System: once\n\nhello", "System: once\n\nhello", 2)
    await worker.finish(again, "done")


async def test_a_slot_that_comes_while_the_job_runs_is_left_out_and_said_so(idle, mock_clock):
    await idle.add()
    await idle.pass_time(130)
    (entry,) = await idle.log()
    assert (entry.status, entry.error, entry.slot_ms) == ("skipped", "already-running", BEGIN_MS + 120_000)


async def test_a_job_that_waits_runs_when_the_earlier_run_has_ended(idle, mock_clock):
    job = await idle.add(overlap="wait")
    await idle.pass_time(250)
    (born,) = idle.supervisor.born
    worker, run = await idle.take(born.session)
    await worker.finish(run, "at last")
    await idle.pass_time(1)
    assert [(entry.status, entry.slot_ms) for entry in await idle.log()] == [("ok", BEGIN_MS + 60_000)]
    assert len(idle.supervisor.born) == 2
    assert idle.supervisor.born[1].session == f"agent:main:cron:{job['id']}:run:{BEGIN_MS + 240_000}"


async def test_a_failing_job_backs_off_alerts_and_is_switched_off(idle, mock_clock):
    async with trio.open_nursery() as workers:
        await workers.start(idle.answer_all, {"status": "failed", "error": "no such file"})
        alert = {"after": 3, "to": "agent:main:ops", "cooldownMs": 10**9}
        job = await idle.add(schedule={"kind": "every", "everyMs": 10_000}, failureAlert=alert)
        await idle.pass_time(9 * 3700)
        workers.cancel_scope.cancel()
    now = await idle.cron.get(job["id"])
    entries = await idle.log()
    assert [entry.status for entry in entries] == ["error"] * 10
    gaps = [(after.run_at_ms - before.run_at_ms) // 1000 for before, after in itertools.pairwise(entries)]
    assert gaps[:4] == [30, 60, 300, 900]
    assert (now["enabled"], now["state"]["autoDisabled"]["reason"]) == (False, "consecutive-failures")
    assert [text for role, text in idle.texts("agent:main:ops") if role == "user"] == [
        f"Cron job job ({job['id']}) has failed 3 times in a row.\nError: no such file"
    ]
    notices = [one["code"] for one in idle.listener.of("notice")]
    assert "CRON_JOB_DISABLED" in notices
    await idle.send("hello")
    _, run = await idle.take()
    assert run.message.startswith(f"System: Cron job job ({job['id']}) was switched off: 10 runs in a row")


async def test_a_job_that_runs_once_is_changed_while_it_waits_to_be_tried_again(idle, mock_clock):
    async with trio.open_nursery() as workers:
        await workers.start(idle.answer_all, {"status": "failed", "error": "429 too many requests"})
        job = await run_once(idle)
        again = job["nextRunAtMs"]
        assert again > idle.now
        changed = await idle.patch(job["id"], description="patience")
        assert (changed["description"], changed["nextRunAtMs"], changed["enabled"]) == ("patience", again, True)
        await idle.pass_time(31)
        assert [entry.attempt for entry in await idle.log()] == [1, 2]
        off = await idle.patch(job["id"], enabled=False)
        assert (off["enabled"], off.get("nextRunAtMs")) == (False, None)
        await idle.pass_time(3600)
        assert len(await idle.log()) == 2
        with pytest.raises(Refusal, match="no upcoming run time and would never fire"):
            await idle.patch(job["id"], enabled=True)
        workers.cancel_scope.cancel()


async def test_a_job_switched_on_again_begins_with_a_clean_slate(box, mock_clock):
    job = await box.add()
    await box.patch(job["id"], enabled=False)
    await box.pass_time(200)
    assert await box.log() == []
    again = await box.patch(job["id"], enabled=True)
    assert again["nextRunAtMs"] > box.now
    await box.pass_time(61)
    assert len(await box.log()) == 1


async def test_a_run_somebody_asks_for_is_no_slot(box, mock_clock):
    job = await box.add()
    told = await box.cron.run(job["id"])
    assert (told["ok"], told["enqueued"]) == (True, True)
    await box.pass_time(1)
    (entry,) = await box.log()
    assert (entry.run_id, entry.trigger, entry.status) == (told["runId"], "manual", "ok")
    assert await box.cron.run(job["id"], "due") == {"ok": True, "ran": False, "reason": "not-due"}
    await box.patch(job["id"], enabled=False)
    assert (await box.cron.run(job["id"], "if-enabled"))["reason"] == "disabled"


async def test_a_job_that_runs_is_not_run_beside_itself(idle, mock_clock):
    job = await idle.add()
    await idle.cron.run(job["id"])
    assert (await idle.cron.run(job["id"]))["reason"] == "already-running"


async def test_an_agent_sees_and_changes_its_own_jobs_alone(box, mock_clock):
    main, scout = Owner("main", MAIN), Owner("scout", "agent:scout:main")
    mine = await box.add(main)
    await box.add()
    assert mine["owner"] == {"agentId": "main", "sessionKey": MAIN}
    assert [job["id"] for job in (await box.cron.list(ALL, main)).jobs] == [mine["id"]]
    assert (await box.cron.list(ALL, scout)).jobs == []
    for act in (box.cron.get(mine["id"], scout), box.cron.run(mine["id"], who=scout)):
        with pytest.raises(Refusal, match="no cron job"):
            await act
    assert await box.cron.remove(mine["id"], scout) == {"ok": True, "removed": False}
    with pytest.raises(Refusal, match="is not yours"):
        await box.add(scout, agentId="main")
    assert await box.cron.remove(mine["id"], main) == {"ok": True, "removed": True}


async def test_an_operator_who_stopped_an_agent_is_not_overruled_by_a_clock(box, mock_clock):
    await box.services.agents.stop("main", "enough")
    await box.add()
    await box.pass_time(65)
    (entry,) = await box.log()
    assert (entry.status, entry.error) == ("skipped", "agent-stopped")
    assert box.services.engine.holds.is_stopped("main")


async def test_a_job_that_runs_once_waits_for_an_agent_that_may_not_work(box, mock_clock):
    await box.services.agents.stop("main", "enough")
    job = await box.add(schedule={"kind": "at", "at": BEGIN_MS + 5000})
    await box.pass_time(600)
    assert await box.log() == []
    assert (await box.cron.get(job["id"]))["enabled"] is True
    await box.send("back to work")  # which is what a stopped agent waits for
    await box.pass_time(10)
    assert [(entry.slot_ms, entry.status) for entry in await box.log()] == [(BEGIN_MS + 5000, "ok")]


async def test_an_agent_in_quarantine_is_left_alone(box, mock_clock):
    box.services.engine.quarantine("main", "it died five times")
    job = await box.add()
    await box.pass_time(15 * 60)
    assert {(entry.status, entry.error) for entry in await box.log()} == {("skipped", "agent-quarantined")}
    assert (await box.cron.get(job["id"]))["enabled"] is True


async def test_a_change_made_to_an_older_state_is_refused(box, mock_clock):
    job = await box.add()
    await box.patch(job["id"], name="new")
    with pytest.raises(Refusal, match="has changed"):
        await box.cron.update(job["id"], JobPatch(name="newer"), job["configRevision"])


async def test_events_tell_what_became_of_jobs(box, mock_clock):
    job = await box.add()
    await box.pass_time(61)
    await box.cron.remove(job["id"])
    told = [(one["action"], one.get("status")) for one in box.listener.of("cron")]
    assert told == [("added", None), ("started", None), ("finished", "ok"), ("removed", None)]


async def test_the_session_of_a_single_run_is_dropped_when_its_time_is_over(box, mock_clock):
    await run_once(box)
    await run_once(box, sessionTarget="session:diary")
    box.clock.step(23 * 3600)
    await box.cron.clean()
    assert len(box.services.sessions.list_rows()[0]) == 2
    box.clock.step(2 * 3600)
    await box.cron.clean()
    assert [row.key for row in box.services.sessions.list_rows()[0]] == ["agent:main:diary"]
    box.clock.step(8 * 86_400)
    await box.cron.clean()
    assert await box.log() == []
