"""A sub-agent's result that waits long: it is kept, and somebody is told why it waits."""

from __future__ import annotations

from tests.support.calls import Caller, worker_principal
from tests.support.engine import Worker, finished_turn, open_box

MAIN = "agent:main:main"
TOLD = "announce:run-kid"


async def finish_kid(box) -> None:
    await box.spawn("kid", parent_run=None)
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "42")


def waits(box) -> str:
    return box.services.runs.snapshot(TOLD).waits or ""


async def test_a_result_for_a_busy_parent_is_told_of_and_then_delivered(box, mock_clock):
    await box.send("hello")
    parent, turn = await box.take()
    await finish_kid(box)
    mock_clock.jump(119)
    await box.settle()
    assert box.listener.of("notice") == []
    assert waits(box) == ""
    mock_clock.jump(2)
    await box.settle()
    (notice,) = box.listener.of("notice")
    assert (notice["code"], notice["runId"], notice["sessionKey"]) == ("ANNOUNCE_WAITS", TOLD, MAIN)
    for text in (notice["message"], waits(box)):
        assert "agents.defaults.subagents.announceTimeoutMs" in text
        assert "busy with the run hello since 2023-11-14" in text
    agent = Caller(box.services, worker_principal(parent.born))
    (task,) = (await agent.ask("tools.invoke", name="subagents", args={}))["tasks"]
    assert "busy with the run hello" in task["announceWaits"]
    await parent.finish(turn, "hi")
    told = await parent.next()
    assert told.provenance["result"] == "42"
    assert waits(box) == ""


async def test_a_result_that_is_heard_in_time_is_no_news(box, mock_clock):
    worker = await finished_turn(box, "hello", "hi")
    await finish_kid(box)
    await worker.finish(await worker.next(), "thanks")
    mock_clock.jump(200)
    await box.settle()
    assert box.listener.of("notice") == []


async def test_a_result_for_an_agent_in_quarantine_says_how_to_release_it(box, mock_clock):
    await finished_turn(box, "hello", "hi")
    await box.spawn("kid")
    child, run = await box.take("agent:main:subagent:kid")
    box.services.agents.quarantined("main", True, "it died too often")
    await child.finish(run, "42")
    mock_clock.jump(121)
    await box.settle()
    told = waits(box)
    assert told is not None
    assert "it died too often" in told
    assert "peergate agents release main" in told


async def test_a_result_behind_a_full_lane_names_the_cap(tmp_path, mock_clock):
    tree = {"agents": {"defaults": {"maxConcurrent": 1}, "entries": {"main": {}, "scout": {}}}}
    async with open_box(tmp_path, tree=tree) as box:
        await finished_turn(box, "hello", "hi")
        await box.send("busy", "agent:scout:main")
        await box.take("agent:scout:main")
        await finish_kid(box)
        mock_clock.jump(121)
        await box.settle()
        assert "the lane main is full (1 of 1, agents.defaults.maxConcurrent)" in (waits(box) or "")


async def test_a_result_that_waited_before_a_restart_is_told_of_after_it(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        await box.send("hello")
        parent, turn = await box.take()
        await finish_kid(box)
        mock_clock.jump(100)
        await box.settle()
    async with open_box(tmp_path, live=[parent], generation=2) as box:
        back = Worker(box, parent.born)
        await back.next(holding=turn)
        mock_clock.jump(21)
        await box.settle()
        assert [notice["code"] for notice in box.listener.of("notice")] == ["ANNOUNCE_WAITS"]
