"""Stories of workers that die or never come, and of agents that are held."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
import trio.testing

from gateway.control import SpawnRefused
from gateway.protocol.calls.worker import Assignment
from gateway.protocol.errors import Refusal
from supervisor.messages import Exited
from tests.support.engine import Box, Worker, finished_turn, open_box, settings_from

MAIN = "agent:main:main"


async def test_a_run_survives_its_worker_and_is_given_up_after_three(box):
    await finished_turn(box, "hello", "hi")
    await box.spawn("kid")
    for attempt in (1, 2, 3):
        child, run = await box.take("agent:main:subagent:kid")
        assert run.attempt == attempt
        await child.say(run, f"try {attempt}")
        child.die(signal=9, reason="memoryBytes")
    ended = await box.services.runs.wait("run-kid", 60)
    assert (ended.state, ended.status) == ("interrupted", "error")
    assert ended.error == (
        "its worker was ended by signal 9 (memoryBytes); that was attempt 3 of 3; "
        "its message is parked: peergate mailbox show run-kid"
    )
    assert ended.text == "try 3"
    told = await Worker(box, box.supervisor.born[0]).next()
    assert told.provenance["status"] == "error"


async def test_a_turn_that_may_have_had_effects_is_not_repeated(tmp_path, mock_clock):
    entries = {"main": {"runtime": {"type": "command", "argv": ["true"]}}}
    async with open_box(tmp_path, tree={"agents": {"entries": entries}}) as box:
        await box.send("hello")
        worker, run = await box.take()
        await worker.say(run, "half a")
        worker.die(code=1)
        ended = await box.services.runs.wait("hello", 60)
        assert ended.state == "interrupted"
        assert ended.error == (
            "its worker exited with code 1; a turn of this agent may have had effects and is not repeated by itself; "
            "its message is parked: peergate mailbox show hello"
        )


async def test_a_run_given_to_a_worker_that_was_just_leaving_is_not_lost(tmp_path, mock_clock):
    entries = {"main": {"runtime": {"type": "command", "argv": ["true"]}}}
    async with open_box(tmp_path, tree={"agents": {"entries": entries}}) as box:
        await box.send("hello")
        worker, _ = await box.take()
        worker.die(code=0)
        again, run = await box.take()
        assert (run.message, run.attempt) == ("hello", 2)
        await again.finish(run, "hi")


async def test_what_a_dead_turn_was_given_is_given_to_its_next_attempt(box):
    await box.send("hello")
    parent, turn = await box.take()
    await parent.steer(turn)
    await box.spawn("kid", parent_run="hello")
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "42")
    await parent.link.wait_event()
    parent.die()
    again, second = await box.take()
    assert [mail.provenance["result"] for mail in second.steered] == ["42"]
    await again.finish(second, "it is 42")
    assert box.state("announce:run-kid") == "done"


async def test_a_worker_that_lost_its_connection_goes_on_with_its_run(box):
    await box.send("hello")
    worker, run = await box.take()
    worker.connect()
    back = await worker.next(holding=run)
    assert (back.resumed, back.run_id, back.abandoned) == (True, "hello", False)
    await worker.finish(run, "hi")
    assert await worker.finish(run, "hi") == {"ok": True, "runId": "hello"}  # the answer was lost, it says it again


async def test_a_lease_whose_answer_was_lost_is_given_again(box):
    await box.send("hello")
    worker, run = await box.take()
    worker.connect()
    assert (await worker.next()).attempt == run.attempt == 1


async def test_another_worker_cannot_speak_for_a_run(box):
    await box.send("hello")
    _, run = await box.take()
    await box.send("hi", "agent:scout:main")
    scout = await box.hire("agent:scout:main")
    with pytest.raises(Refusal, match="is not this worker's"):
        await scout.finish(run, "stolen")
    with pytest.raises(Refusal, match="is not this worker's"):
        await scout.say(run, "stolen")
    assert box.state("hello") == "running"


async def test_a_worker_that_never_connects_fails_the_run_with_the_true_cause(box, mock_clock):
    box.supervisor.refuse["main"] = SpawnRefused("zygote is restarting")
    await box.send("hello")
    await box.supervisor.wait_for(1, "asked")
    await box.settle()
    mock_clock.jump(30)
    ended = await box.services.runs.wait("hello", 1e6)
    assert ended.state == "failed"
    assert ended.error == (
        "the worker of agent main did not connect within 30000 ms "
        "(agents.defaults.subagents.spawnTimeoutMs): zygote is restarting"
    )


async def test_the_time_a_supervisor_does_not_answer_is_not_the_workers(box, mock_clock):
    box.supervisor.awake = trio.Event()  # as one that is stopped, or swapped out
    await box.send("hello")
    await box.supervisor.wait_for(1, "asked")
    for _ in range(3):
        mock_clock.jump(25)
        await box.settle()
    assert box.state("hello") == "starting"
    box.supervisor.awake.set()
    worker, run = await box.take()
    await worker.finish(run, "here")
    assert (await box.services.runs.wait("hello", 1e6)).text == "here"


async def test_a_worker_that_stays_away_after_a_late_answer_has_its_own_time_and_no_more(box, mock_clock):
    box.supervisor.awake = trio.Event()
    await box.send("hello")
    await box.supervisor.wait_for(1, "asked")
    mock_clock.jump(29)
    box.supervisor.awake.set()
    await box.supervisor.wait_for(1)
    for seconds in (1, 28):
        await box.settle()
        mock_clock.jump(seconds)
    await box.settle()
    assert box.state("hello") == "starting"
    mock_clock.jump(1)
    ended = await box.services.runs.wait("hello", 1e6)
    assert ended.error is not None
    assert "was started and has not connected" in ended.error


async def test_a_worker_that_dies_before_it_connects_is_asked_for_again(box, mock_clock):
    await box.send("hello")
    await box.supervisor.wait_for(1)
    await box.settle()
    born = box.supervisor.born[0]
    box.services.workers.exited(Exited(born.spawn, born.agent, born.session, 1, None, "import error"))
    await box.settle()
    assert box.services.workers.cause(MAIN) == "the worker exited with code 1 (import error) before it connected"
    box.hired.add(born.spawn)  # the one that died takes nothing any more
    mock_clock.jump(1)
    _, run = await box.take()
    assert run.attempt == 1


async def test_a_turn_that_takes_too_long_keeps_what_it_had_said(box, mock_clock):
    await box.send("hello", timeout_s=5)
    worker, run = await box.take()
    await worker.say(run, "so far ", "so good")
    mock_clock.jump(6)
    ended = await box.services.runs.wait("hello", 1e6)
    assert (ended.state, ended.status, ended.text) == ("timed_out", "timeout", "so far so good")
    event, payload = await worker.link.wait_event()
    assert (event, payload["status"]) == ("worker.abort", "timed_out")


async def test_messages_wait_for_an_agent_in_quarantine_and_new_ones_are_refused(box):
    await box.send("one")
    worker, _ = await box.take()
    for text in ("two", "three"):
        await box.send(text)
    box.services.agents.quarantined("main", True, "5 deaths in 60 s")
    worker.die()
    await box.settle()
    held = "agent main is in quarantine (5 deaths in 60 s); to release it: peergate agents release main"
    for text in ("one", "two", "three"):
        waiting = await box.services.runs.wait(text, 0)
        assert (waiting.state, waiting.waits) == ("queued", held)
    with pytest.raises(Refusal) as refused:
        await box.send("four")
    assert refused.value.shape.message == f"not accepted: {held}"
    assert (await box.send("two")).created is False, "what was accepted is answered as it was then"
    box.services.agents.quarantined("main", False, "")
    for text in ("one", "two", "three"):
        worker, run = await box.take()
        assert run.message == text
        await worker.finish(run, "done")
        worker.die(code=0)


async def being_leased(box: Box, nursery: trio.Nursery) -> tuple[Worker, list[Assignment], threading.Event]:
    """The main session's worker asks for its run, on a disk that takes the lease when the event is set; what it is then
    given."""
    worker, taken, held = await box.hire(), list[Assignment](), threading.Event()

    async def take() -> None:
        taken.append(await worker.next())

    box.services.database.post(lambda db: held.wait(20))
    nursery.start_soon(take)
    await trio.testing.wait_all_tasks_blocked()
    return worker, taken, held


async def test_a_run_that_is_leased_as_its_agent_is_held_goes_on_and_is_not_begun_again(box, mock_clock, nursery):
    for text in ("one", "two"):
        await box.send(text)
    worker, taken, held = await being_leased(box, nursery)
    box.services.agents.quarantined("main", True, "it loops")
    held.set()
    await box.settle()
    assert (box.state("one"), box.state("two")) == ("running", "queued")
    box.services.agents.quarantined("main", False, "")
    mock_clock.jump(60)
    await box.settle()
    assert (box.state("one"), box.state("two")) == ("running", "queued")
    await worker.finish(taken[0], "done")
    assert (await worker.next()).message == "two"


async def test_who_was_begun_in_the_place_of_a_run_being_leased_waits_until_that_has_ended(box, nursery):
    await box.send("first", "agent:scout:main")
    await box.send("second", "agent:scout:main", lane="cron", sender="cron")  # so that the lane is asked before main's
    await box.send("one")
    await box.send("news", lane="cron", sender="cron")
    worker, taken, held = await being_leased(box, nursery)
    box.services.agents.quarantined("main", True, "it loops")
    box.services.agents.quarantined("main", False, "")
    assert box.services.engine.board.current(MAIN).id == "news"
    held.set()
    await box.settle()
    assert (box.state("one"), box.state("news")) == ("running", "queued")
    await worker.finish(taken[0], "done")
    assert (await worker.next()).message == "news"


async def test_what_waits_for_a_held_agent_ends_when_that_is_configured_no_more(tmp_path):
    both: dict[str, Any] = {"agents": {"entries": {"main": {}, "scout": {}}}}
    one: dict[str, Any] = {"agents": {"entries": {"main": {}}}}
    async with open_box(tmp_path, tree=both) as box:
        await box.send("hello", "agent:scout:main")
        box.services.agents.quarantined("scout", True, "it loops")
        box.services.reload(settings_from(one))
        ended = await box.services.runs.wait("hello", 60)
        assert ended.error == "the agent scout is not configured any more (agents.entries)"


async def test_a_result_for_a_quarantined_agent_waits_for_its_release(box):
    await box.send("hello", "agent:scout:main")
    scout, turn = await box.take("agent:scout:main")
    await box.spawn("kid", "agent:scout:main")
    child, run = await box.take("agent:main:subagent:kid")
    await scout.finish(turn)
    box.services.agents.quarantined("scout", True, "looping")
    await child.finish(run, "42")
    assert box.state("announce:run-kid") == "queued"
    box.services.agents.quarantined("scout", False, "")
    assert (await scout.next()).provenance["result"] == "42"


async def test_a_stopped_agent_waits_for_the_next_message(box):
    await box.send("one")
    worker, _ = await box.take()
    await box.send("two")
    assert await box.services.agents.stop("main", "lunch") == ["one"]
    assert [spawn for spawn, _ in box.supervisor.stopped] == [worker.born.spawn]
    worker.die(code=0)
    assert box.state("two") == "queued"
    await box.send("three")
    _, run = await box.take()
    assert run.message == "two"


async def test_a_system_that_stops_takes_no_new_work_but_finishes_what_it_has(box):
    await box.send("one")
    worker, run = await box.take()
    box.services.drain("peergate stop")
    with pytest.raises(Refusal, match="the system is stopping") as refused:
        await box.send("two")
    assert refused.value.shape.retryable
    await worker.finish(run, "1")
    assert (await box.services.runs.wait("one", 0)).text == "1"


async def test_a_worker_somebody_stopped_does_not_count_as_an_attempt(box):
    await box.send("hello")
    for attempt in range(1, 6):
        worker, run = await box.take()
        await worker.say(run, "hm")
        assert run.attempt == attempt
        box.services.agents.stop_workers("main", "restarted by an operator")
        worker.die(code=0)
    for attempt in range(6, 9):  # but dying does, three times
        worker, run = await box.take()
        assert run.attempt == attempt
        worker.die()
    assert "that was attempt 8 of 8" in str((await box.services.runs.wait("hello", 60)).error)
