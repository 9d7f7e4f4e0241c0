"""Stories of children: their results reach the parent once, whichever way."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from gateway.services.work import ChildLimit
from tests.support.engine import Worker, finished_turn, open_box

MAIN = "agent:main:main"


async def test_a_childs_result_becomes_the_parents_next_turn(box):
    await finished_turn(box, "hello", "hi")
    await box.spawn("kid", label="the kid")
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "forty-two")
    told = await Worker(box, box.supervisor.born[0]).next()
    assert "forty-two" in told.message
    expected = {"childRunId": "run-kid", "status": "ok", "result": "forty-two", "sourceTool": "sessions_spawn"}
    assert expected.items() <= told.provenance.items()


async def test_a_result_reaches_a_session_that_never_spoke_before(box):
    await box.spawn("kid")  # an operator's spawn for a session that does not exist yet
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "42")
    _, told = await box.take()
    assert told.provenance["result"] == "42"


async def test_a_result_is_steered_into_a_turn_that_listens(box):
    await box.send("hello")
    parent, turn = await box.take()
    await parent.steer(turn)
    await box.spawn("kid", parent_run="hello")
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "42")
    event, payload = await parent.link.wait_event()
    assert event == "worker.steer"
    assert payload["mails"][0]["provenance"]["result"] == "42"
    await parent.steer(turn, open=False)
    await parent.finish(turn, "it is 42")
    assert box.state("announce:run-kid") == "done"
    assert [text for _, text in box.texts()][-1] == "it is 42"
    assert box.services.runs.counts() == {}


async def test_a_steered_result_nobody_read_gets_a_turn_of_its_own(box):
    await box.send("hello")
    parent, turn = await box.take()
    await parent.steer(turn)
    await box.spawn("kid", parent_run="hello")
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "42")
    _, payload = await parent.link.wait_event()
    await parent.steer(turn, open=False)
    await parent.finish(turn, "done without it", unread=(payload["mails"][0]["id"],))
    assert (await parent.next()).provenance["result"] == "42"


async def test_a_turn_that_ends_with_its_channel_open_cannot_have_read_what_is_on_its_way(box):
    await box.send("hello")
    parent, turn = await box.take()
    await parent.steer(turn)
    await box.spawn("kid", parent_run="hello")
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "42")
    await parent.finish(turn, "done")  # says nothing of the message: it had not arrived yet
    assert (await parent.next()).provenance["result"] == "42"


async def test_results_that_waited_are_given_to_a_turn_as_it_begins_to_listen(box):
    await box.send("hello")
    parent, turn = await box.take()
    await box.spawn("kid", parent_run="hello")
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "42")
    assert box.state("announce:run-kid") == "queued"
    await parent.steer(turn)
    event, _ = await parent.link.wait_event()
    assert event == "worker.steer"


async def test_a_result_steered_after_its_own_turn_was_lost_stands_in_the_transcript_once(box):
    await finished_turn(box, "hello", "hi")
    await box.spawn("kid")
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "42")
    parent = Worker(box, box.supervisor.born[0])
    assert (await parent.next()).run_id == "announce:run-kid"
    await box.send("listen", lane=f"nested:{MAIN}")
    parent.die()
    again, turn = await box.take()
    assert turn.run_id == "listen"
    await again.steer(turn)
    await again.link.wait_event()
    await again.steer(turn, open=False)
    await again.finish(turn, "heard")
    assert box.state("announce:run-kid") == "done"
    assert [role for role, _ in box.texts()] == ["user", "assistant", "user", "user", "assistant"]


async def test_a_result_taken_by_waiting_is_not_announced_again(box, nursery):
    await box.send("hello")
    parent, turn = await box.take()
    await box.spawn("kid", parent_run="hello")
    child, run = await box.take("agent:main:subagent:kid")
    taken: list[Any] = []

    async def wait():
        taken.extend(await box.services.runs.take_results(MAIN, None, 60))

    nursery.start_soon(wait)
    await child.finish(run, "42")
    await box.settle()
    assert [one.text for one in taken] == ["42"]
    await parent.finish(turn, "it is 42")
    assert box.services.runs.counts() == {}
    assert box.state("announce:run-kid") == "done"
    assert await box.services.runs.take_results(MAIN, None, 60) == []


@pytest.mark.parametrize("seconds", [0, 5])
async def test_a_session_that_has_asked_for_results_is_not_remembered_for_it(box, seconds):
    await box.spawn("kid")
    engine, take = box.services.engine, box.services.runs.take_results
    assert await take(MAIN, None, seconds) == []  # it is too early
    await box.services.runs.wait("run-kid", seconds)
    assert (len(engine.results), len(engine.endings)) == (0, 0)
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "42")
    assert [one.text for one in await take(MAIN, None, seconds)] == ["42"]  # it is there at once
    assert await take(MAIN, None, seconds) == []  # and there is nothing to wait for any more
    assert len(engine.results) == 0


@pytest.mark.parametrize("text", ["ANNOUNCE_SKIP", " NO_REPLY\n"])
async def test_a_child_that_has_nothing_to_say_is_not_announced(box, text):
    await finished_turn(box, "hello", "hi")
    await box.spawn("kid")
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, text)
    assert box.services.runs.counts() == {}


async def test_a_session_made_for_one_run_is_removed_after_it(box):
    await finished_turn(box, "hello", "hi")
    await box.spawn("kid", cleanup="delete")
    child, run = await box.take("agent:main:subagent:kid")
    assert box.services.sessions.row("agent:main:subagent:kid") is not None
    await child.finish(run, "42")
    assert box.services.sessions.row("agent:main:subagent:kid") is None
    assert (await box.services.runs.wait("run-kid", 0)).text == "42"
    assert box.state("announce:run-kid") in ("queued", "starting")


async def test_two_spawns_at_once_cannot_both_be_the_last_one_allowed(box, nursery):
    await box.send("hello")
    outcomes: list[str] = []

    async def one(name: str):
        try:
            await box.spawn(name, max_children=1)
        except ChildLimit as full:
            outcomes.append(str(full))
        else:
            outcomes.append("accepted")

    async with trio.open_nursery() as both:
        both.start_soon(one, "a")
        both.start_soon(one, "b")
    assert sorted(outcomes) == ["1 of at most 1 children are unfinished", "accepted"]


async def test_parents_that_wait_give_their_slots_to_their_children(tmp_path, mock_clock):
    tree = {"agents": {"defaults": {"maxConcurrent": 1, "subagents": {"maxConcurrent": 1}}}}
    async with open_box(tmp_path, tree=tree) as box:
        await box.spawn("one")
        first, run1 = await box.take("agent:main:subagent:one")
        await box.spawn("two")  # same lane, no slot
        assert box.state("run-two") == "queued"
        box.services.runs.hold_slot(run1.run_id, True)
        second, run2 = await box.take("agent:main:subagent:two")
        assert (box.state("run-one"), box.state("run-two")) == ("waiting", "running")
        await box.spawn("deep", "agent:main:subagent:one", depth=2)  # a lane of its own depth
        await box.take("agent:main:subagent:deep")
        await second.finish(run2, "2")
        box.services.runs.hold_slot(run1.run_id, False)
        assert box.state("run-one") == "running"
        await first.finish(run1, "1")


async def test_a_session_made_for_one_run_waits_for_its_children_and_goes_after_one_that_has_nothing_to_say(box):
    await box.spawn("kid", cleanup="delete")
    child, run = await box.take("agent:main:subagent:kid")
    await box.spawn("grandkid", "agent:main:subagent:kid", depth=2)
    grandchild, task = await box.take("agent:main:subagent:grandkid")
    await child.finish(run, "they work on it")
    assert box.services.sessions.row("agent:main:subagent:kid") is not None
    await grandchild.finish(task, "NO_REPLY")
    assert box.services.sessions.row("agent:main:subagent:kid") is None


async def test_a_session_that_waited_for_one_result_alone_goes_when_that_is_fetched_by_a_turn_that_has_ended(box):
    kid = "agent:main:subagent:kid"
    await box.spawn("kid", cleanup="delete")
    child, turn = await box.take(kid)
    await box.spawn("grandchild", kid, depth=2, parent_run="run-kid")
    grandchild, task = await box.take("agent:main:subagent:grandchild")
    await grandchild.finish(task, "42")
    await child.finish(turn, "done")  # its tool call still looks for results
    assert [one.text for one in await box.services.runs.take_results(kid, None, 0)] == ["42"]
    assert box.state("announce:run-grandchild") == "done"
    assert box.services.sessions.row(kid) is None
