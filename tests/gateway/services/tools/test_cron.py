"""The tool `cron`: an agent's own jobs, its reminders, and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.services.tools.cron import ACTIONS
from tests.support.engine import Worker
from tests.support.jobs import BEGIN_MS, JobBox, open_jobs

TURN = {"kind": "agentTurn", "message": "look at the mail"}
JOB: dict[str, Any] = {"name": "mail", "schedule": {"kind": "every", "everyMs": 3_600_000}, "payload": TURN}
TREE = {
    "agents": {
        "entries": {
            name: {"runtime": {"type": "python", "entry": "agentproc.builtin.main:turn"}} for name in ("main", "scout")
        }
    }
}


@pytest.fixture
async def box(tmp_path):
    async with open_jobs(tmp_path, tree=TREE) as box:
        yield box


@pytest.fixture
def turn_of(box: JobBox, hands_type):
    """The hands of an agent that is in a turn."""

    async def begin(session: str) -> Any:
        await box.send("hello", run_id=f"turn of {session}", session=session)
        worker, _ = await box.take(session)
        return hands_type(box, worker)

    return begin


async def test_what_an_agent_makes_is_its_own_and_bound_to_its_session(mock_clock, box, turn_of):
    main = await turn_of("agent:main:main")
    job = await main.use("cron", action="add", job=JOB)
    assert job["owner"] == {"agentId": "main", "sessionKey": "agent:main:main"}
    assert (job["sessionTarget"], job["sessionKey"], job["agentId"]) == ("current", "agent:main:main", "main")
    assert job["delivery"] == {"mode": "announce", "to": "agent:main:main"}


async def test_an_agent_sees_and_changes_its_own_jobs_and_no_others(mock_clock, box, turn_of, hands):
    main, scout = await turn_of("agent:main:main"), await turn_of("agent:scout:main")
    own = await scout.use("cron", action="add", job=JOB)
    foreign = [await main.use("cron", action="add", job=JOB), await box.add()]
    assert [job["id"] for job in (await scout.use("cron", action="list"))["jobs"]] == [own["id"]]
    assert (await scout.use("cron", action="status"))["jobs"] == 1
    for job in foreign:
        for action in ("get", "update", "run"):
            told = await scout.use("cron", action=action, id=job["id"], patch={"name": "mine"})
            assert (told["status"], told["code"]) == ("error", "CRON_JOB_NOT_FOUND"), action
        assert await scout.use("cron", action="remove", id=job["id"]) == {"ok": True, "removed": False}
        told = await scout.use("cron", action="runs", id=job["id"])
        assert told["status"] == "error"
    assert (await hands.use("cron", action="list"))["total"] == 3


async def test_an_agent_makes_no_jobs_for_others(mock_clock, box, turn_of):
    scout = await turn_of("agent:scout:main")
    for named in ({"agentId": "main"}, {"sessionKey": "agent:main:main"},
                  {"delivery": {"mode": "announce", "to": "agent:main:main"}}):  # fmt: skip
        told = await scout.use("cron", action="add", job={**JOB, **named})
        assert told["status"] == "error", named
        assert "not yours" in told["error"], named
    for whom in ({"sessionKey": "agent:main:main"}, {"agentId": "main"}):
        told = await scout.use("cron", action="wake", text="hello", **whom)
        assert "not yours" in told["error"], whom
    assert (await scout.use("cron", action="list", includeDisabled=True))["total"] == 0


async def test_a_job_is_looked_at_changed_run_and_removed(mock_clock, box, turn_of):
    main = await turn_of("agent:main:main")
    job = await main.use("cron", action="add", job={**JOB, "sessionTarget": "isolated"})
    assert await main.use("cron", action="get", jobId=job["id"]) == job
    changed = await main.use("cron", action="update", id=job["id"], patch={"name": "post", "enabled": False})
    assert (changed["name"], changed["enabled"]) == ("post", False)
    assert (await main.use("cron", action="list"))["jobs"] == []
    assert (await main.use("cron", action="list", enabled="disabled"))["total"] == 1
    run = await main.use("cron", action="run", id=job["id"])
    await box.calm()
    worker = Worker(box, next(born for born in box.supervisor.born if ":cron:" in born.session))
    await worker.finish(await worker.next(), "two letters")
    await box.calm()
    (entry,) = (await main.use("cron", action="runs", id=job["id"]))["entries"]
    assert (entry["runId"], entry["summary"]) == (run["runId"], "two letters")
    assert (await main.use("cron", action="remove", id=job["id"]))["removed"] is True


async def test_a_reminder_some_time_from_now_becomes_the_time_it_is(mock_clock, box, turn_of):
    main = await turn_of("agent:main:main")
    reminder = {"schedule": {"kind": "at", "at": "20m"}, "payload": {"kind": "systemEvent", "text": "tea"}}
    job = await main.use("cron", action="add", job=reminder)
    assert job["schedule"] == {"kind": "at", "at": BEGIN_MS + 1_200_000}
    later = await main.use("cron", action="update", id=job["id"], patch={"schedule": {"kind": "at", "at": "+1h30m"}})
    assert later["nextRunAtMs"] == BEGIN_MS + 5_400_000


async def test_the_last_messages_go_with_a_reminder_that_asks_for_them(mock_clock, box, turn_of):
    main = await turn_of("agent:main:main")
    reminder = {"schedule": {"kind": "at", "at": "20m"}, "payload": {"kind": "systemEvent", "text": "tea"}}
    job = await main.use("cron", action="add", job=reminder, contextMessages=3)
    assert job["payload"]["text"] == "tea\n\nRecent context:\n- User: hello"


async def test_a_call_that_is_sent_again_makes_no_second_job(mock_clock, box, turn_of):
    main = await turn_of("agent:main:main")
    first = await main.use("cron", action="add", job=JOB, key="k")
    assert await main.use("cron", action="add", job=JOB, key="k") == first
    other = await main.use("cron", action="add", job=JOB, key="k2")
    assert other["id"] != first["id"]


async def test_nor_when_the_job_is_over_and_gone(mock_clock, box, turn_of):
    main = await turn_of("agent:main:main")
    reminder = {"schedule": {"kind": "at", "at": "5s"}, "payload": {"kind": "systemEvent", "text": "tea"}}
    first = await main.use("cron", action="add", job=reminder, key="k")
    assert "declarationKey" not in first
    assert (await main.use("cron", action="remove", id=first["id"]))["removed"] is True
    assert await main.use("cron", action="add", job=reminder, key="k") == first
    assert (await main.use("cron", action="list"))["total"] == 0


async def test_a_sub_agent_has_no_such_tool(mock_clock, box, turn_of, hands):
    parent = await turn_of("agent:main:main")
    child = await parent.use("sessions_spawn", task="x")
    told = await hands.use("cron", acting=child["childSessionKey"], action="list")
    assert (told["status"], "tools.subagents.tools.allow" in told["error"]) == ("forbidden", True)


WRONG = [
    ("an action there is not", {"action": "next_check"}, f"allowed: {', '.join(ACTIONS)}"),
    ("no job to add", {"action": "add"}, "add needs job"),
    ("no patch", {"action": "update", "id": "a"}, "update needs patch"),
    ("no id", {"action": "get"}, "get needs one job: id, or jobId"),
    ("two ids", {"action": "run", "id": "a", "jobId": "b"}, "run needs one job"),
    ("a mode of wake", {"action": "run", "id": "a", "mode": "now"}, "allowed: due, force, if-enabled"),
    ("a mode of run", {"action": "wake", "text": "a", "mode": "due"}, "allowed: now, next-heartbeat"),
    ("a time that is over", {"action": "add", "job": {**JOB, "schedule": {"kind": "at", "at": 1}}}, "would never fire"),
    ("a zone there is not", {"action": "add", "job": {**JOB, "schedule": {"kind": "cron", "expr": "* * * * *",
                                                                          "tz": "Mars"}}}, "IANA"),
]  # fmt: skip


@pytest.mark.parametrize(("story", "args", "said"), WRONG, ids=[row[0] for row in WRONG])
async def test_what_makes_no_sense_is_answered_with_what_does(mock_clock, box, turn_of, story, args, said):
    main = await turn_of("agent:main:main")
    told = await main.use("cron", **args)
    assert (told["status"], said in told["error"]) == ("error", True), told


async def test_an_agent_wakes_itself(mock_clock, box, turn_of):
    main = await turn_of("agent:main:main")
    assert await main.use("cron", action="wake", text="the door is open") == {"ok": True}
    assert await main.use("cron", action="wake", text="look", mode="now") == {"ok": True}
    assert await main.use("cron", action="wake", text=" ") == {"ok": False}


async def test_an_operator_without_a_session_has_all_jobs_and_makes_some_of_nobodys(mock_clock, box, turn_of, hands):
    main = await turn_of("agent:main:main")
    own = await main.use("cron", action="add", job=JOB)
    made = await hands.use("cron", action="add", job=JOB)
    assert "owner" not in made
    assert {job["id"] for job in (await hands.use("cron", action="list"))["jobs"]} == {own["id"], made["id"]}
    as_main = await hands.use("cron", acting="agent:main:main", action="list")
    assert [job["id"] for job in as_main["jobs"]] == [own["id"]]
