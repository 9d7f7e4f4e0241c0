"""Stories of an agent that is stopped or held while something else happens to it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
import trio.testing

from gateway.control import SpawnRefused
from gateway.protocol.errors import Refusal
from gateway.store import records
from tests.support.engine import finished_turn, open_box, settings_from
from tests.support.jobs import on_full_disk

KID = "agent:main:subagent:kid"
ONE_CHILD_AT_A_TIME: dict[str, Any] = {"agents": {"defaults": {"subagents": {"maxConcurrent": 1}}}}


def stopped(box: Any) -> tuple[bool, list[str]]:
    """What memory and the disk say."""
    return box.services.engine.holds.is_stopped("main"), box.services.database.read(records.stopped_agents)


async def test_a_child_that_ends_with_its_stopped_parent_is_not_queued_again(tmp_path, mock_clock, nursery):
    async with open_box(tmp_path, tree=ONE_CHILD_AT_A_TIME) as box:
        await box.spawn("other", "agent:scout:main", agent="scout")
        other, turn = await box.take("agent:scout:subagent:other")
        await box.send("hello")
        await box.take()
        await box.spawn("kid", parent_run="hello")
        nursery.start_soon(box.services.agents.stop, "main", "lunch")
        while not stopped(box)[1]:
            await trio.lowlevel.checkpoint()
        await box.send("again", "agent:main:other")  # lets the agent go on
        await box.settle()
        assert [box.state(run) for run in ("hello", "run-kid", "again")] == ["aborted", "aborted", "starting"]
        await other.finish(turn, "done")  # a slot for a child
        await box.settle()
        assert not box.services.database.broken.is_set()
        assert box.services.runs.counts() == {"starting": 2}  # the message, and the result


async def test_a_message_that_was_accepted_before_the_stop_does_not_end_it(box, nursery):
    held = threading.Event()
    box.services.database.post(lambda db: held.wait(20))
    nursery.start_soon(box.send, "one")
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(box.services.agents.stop, "main", "lunch")
    await trio.testing.wait_all_tasks_blocked()
    held.set()
    await box.settle()
    assert stopped(box) == (True, ["main"])
    assert box.state("one") == "queued"


async def test_a_stop_that_the_disk_does_not_take_has_stopped_nobody(box, monkeypatch):
    full = [True]
    monkeypatch.setattr(records, "stop_agent", on_full_disk(full, records.stop_agent))
    await box.send("one")
    _, run = await box.take()
    with pytest.raises(Refusal, match="full"):
        await box.services.agents.stop("main", "lunch")
    assert stopped(box) == (False, [])
    assert (box.state(run.run_id), box.supervisor.stopped) == ("running", [])


async def test_what_is_told_of_a_run_that_a_stop_ends_waits_for_the_next_message_too(box):
    parent = await finished_turn(box, "hello", "hi")
    await box.spawn("kid", parent_run="hello")
    await box.take(KID)
    await box.services.agents.stop("main", "lunch")
    await box.settle()
    assert stopped(box) == (True, ["main"])
    assert box.state("announce:run-kid") == "queued"
    await box.send("go on")
    assert stopped(box) == (False, [])
    told = await parent.next()
    assert told.provenance["childRunId"] == "run-kid"


async def test_what_a_turn_was_given_while_its_agent_was_held_is_not_begun_when_that_is_released(box):
    await box.send("ask", lane="nested:agent:main:main", sender="agent:scout:main")
    worker, turn = await box.take()
    await box.spawn("kid", parent_run="ask")
    child, run = await box.take(KID)
    box.services.agents.quarantined("main", True, "it loops")
    await child.finish(run, "42")
    await worker.steer(turn)
    assert (await worker.link.wait_event())[0] == "worker.steer"
    box.services.agents.quarantined("main", False, "")
    worker.die()
    await box.settle()
    _, second = await box.take()
    assert second.run_id == "ask"
    assert [mail.provenance["result"] for mail in second.steered] == ["42"]


@pytest.mark.parametrize("refused", [False, True], ids=["by hand", "its worker refused"])
async def test_the_slots_of_an_agent_in_quarantine_are_for_others_at_once(tmp_path, mock_clock, refused):
    tree = {"agents": {"defaults": {"maxConcurrent": 1}, "entries": {"main": {}, "scout": {}}}}
    async with open_box(tmp_path, tree=tree) as box:
        box.supervisor.awake = trio.Event()
        await box.send("hello")
        await box.send("hi", "agent:scout:main")
        await box.supervisor.wait_for(1, "asked")
        assert (box.state("hello"), box.state("hi")) == ("starting", "queued")
        if refused:
            box.supervisor.refuse["main"] = SpawnRefused("it fell too often", quarantined=True)
            box.supervisor.awake.set()
        else:
            box.services.agents.quarantined("main", True, "it loops")
        await trio.testing.wait_all_tasks_blocked()
        assert (box.state("hello"), box.state("hi")) == ("queued", "starting")


async def test_an_agent_that_is_stopped_and_leaves_the_configuration_is_stopped_when_it_comes_back(
    tmp_path, mock_clock
):
    one_at_a_time = {"defaults": {"maxConcurrent": 1}}
    alone = settings_from({"agents": {**one_at_a_time, "entries": {"main": {}}}})
    tree = {"agents": {**one_at_a_time, "entries": {"main": {}, "scout": {}}}}
    async with open_box(tmp_path, tree=tree) as box:
        await box.send("hello")
        worker, run = await box.take()
        await box.send("hi", "agent:scout:main")
        await box.services.agents.stop("scout", "lunch")
        box.services.reload(alone)  # what waited would fail as it starts, but there is no slot for it
        box.services.reload(settings_from(tree))
        await worker.finish(run, "there")
        await box.settle()
        assert box.state("hi") == "queued"
        await box.services.agents.restart("scout", "lunch is over")
        await box.take("agent:scout:main")
