"""Stories of runs: accepted, carried out, announced, repeated, given up, ended."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from gateway.control import SpawnRefused
from gateway.protocol.errors import Refusal
from gateway.services.engine import LET_GO_SECONDS
from gateway.services.work import ChildLimit
from supervisor.messages import Exited
from tests.support.engine import Box, Worker, open_box

MAIN = "agent:main:main"


@pytest.fixture
async def box(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        yield box


async def finished_turn(box: Box, text: str, answer: str) -> Worker:
    await box.send(text)
    worker, run = await box.take()
    await worker.finish(run, answer)
    return worker


# --- one turn ---------------------------------------------------------------------------------------------------------


async def test_a_message_becomes_a_turn_and_its_reply(box):
    accepted = await box.send("hello")
    assert (accepted.created, accepted.disposition) == (True, "queued")
    worker, run = await box.take()
    assert (run.message, run.attempt, run.resumed) == ("hello", 1, False)
    assert box.state("hello") == "running"
    await worker.finish(run, "hi there")
    ended = await box.services.runs.wait("hello", 0)
    assert (ended.status, ended.text, ended.worker_pid) == ("ok", "hi there", worker.born.pid)
    assert box.texts() == [("user", "hello"), ("assistant", "hi there")]
    assert box.services.runs.active_run(MAIN) is None


async def test_who_waits_for_a_run_is_woken_by_its_end_and_not_by_a_clock(box, nursery):
    await box.send("hello")
    heard: list[Any] = []

    async def wait():
        heard.append(await box.services.runs.wait("hello", 3600))

    nursery.start_soon(wait)
    worker, run = await box.take()
    await worker.finish(run, "hi")
    await box.settle()
    assert [one.text for one in heard] == ["hi"]


async def test_a_wait_that_ends_before_the_run_says_pending(box):
    await box.send("hello")
    assert (await box.services.runs.wait("hello", 0)).status == "pending"


async def test_an_unknown_run_is_said_to_be_unknown(box):
    with pytest.raises(Refusal, match='there is no run "nothing"'):
        await box.services.runs.wait("nothing", 0)


async def test_the_same_message_twice_is_one_run(box):
    first = await box.send("hello", run_id="k1")
    again = await box.send("hello", run_id="k1")
    assert (first.created, again.created) == (True, False)
    assert len(box.services.runs.list_runs()) == 1
    with pytest.raises(Refusal, match="used with another text"):
        await box.send("something else", run_id="k1")
    with pytest.raises(Refusal, match="used for another message"):
        await box.send("hello", "agent:scout:main", run_id="k1")


async def test_a_warm_worker_takes_the_next_message_without_another_process(box):
    worker = await finished_turn(box, "one", "1")
    await box.send("two")
    run = await worker.next()
    assert run.message == "two"
    assert len(box.supervisor.born) == 1


async def test_messages_of_one_session_are_turns_one_after_the_other(box):
    await box.send("one")
    await box.send("two")
    worker, first = await box.take()
    assert first.message == "one"
    assert box.state("two") == "queued"
    await worker.finish(first)
    assert (await worker.next()).message == "two"


async def test_a_message_that_is_too_long_or_for_nobody_is_refused(box):
    with pytest.raises(Refusal, match="at most 262144 are allowed"):
        await box.send("x" * 262_145, run_id="long")
    with pytest.raises(Refusal, match="names no configured agent; configured: main, scout"):
        await box.send("hello", "agent:nobody:main")


async def test_events_are_kept_once_and_told_once(box):
    await box.send("hello")
    worker, run = await box.take()
    assert await worker.say(run, "a", "b") == {"acked": 2}
    assert await worker.say(run, "b", "c", seq=2) == {"acked": 3}  # resent after a reconnect
    told = [one["data"]["delta"] for one in box.listener.of("agent") if one["stream"] == "assistant"]
    assert told == ["a", "b", "c"]


async def test_the_state_of_a_session_is_given_to_its_next_turn(box):
    await box.send("one")
    worker, run = await box.take()
    await box.services.leases.keep_state(worker.seat, run.run_id, {"count": 1})
    with pytest.raises(Refusal, match="at most 262144"):
        await box.services.leases.keep_state(worker.seat, run.run_id, {"big": "x" * 300_000})
    await worker.finish(run)
    await box.send("two")
    assert (await worker.next()).state == {"count": 1}


async def test_listeners_hear_a_run_begin_and_end(box):
    await finished_turn(box, "hello", "hi")
    phases = [one["data"]["phase"] for one in box.listener.of("agent") if one["stream"] == "lifecycle"]
    assert phases == ["start", "end"]
    assert [one["reason"] for one in box.listener.of("sessions.changed")] == ["create", "run", "done"]
    assert [one["message"]["role"] for one in box.listener.of("session.message")] == ["user", "assistant"]
    assert [one["state"] for one in box.listener.of("process")] == ["spawned", "connected"]


# --- children and announcements ---------------------------------------------------------------------------------------


async def test_a_childs_result_becomes_the_parents_next_turn(box):
    await finished_turn(box, "hello", "hi")
    await box.spawn("kid", label="the kid")
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "forty-two")
    told = await Worker(box, box.supervisor.born[0]).next()
    assert "forty-two" in told.message
    expected = {"childRunId": "run-kid", "status": "ok", "result": "forty-two", "sourceTool": "sessions_spawn"}
    assert expected.items() <= told.provenance.items()


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
    await parent.finish(turn, "done without it", unread=(payload["mails"][0]["id"],))
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


# --- dying workers ----------------------------------------------------------------------------------------------------


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
    assert ended.error == "its worker was ended by signal 9 (memoryBytes); that was attempt 3 of 3"
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
            "its worker exited with code 1; a turn of this agent may have had effects and is not repeated by itself"
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


# --- starting ---------------------------------------------------------------------------------------------------------


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


async def test_a_worker_that_dies_before_it_connects_is_asked_for_again(box, mock_clock):
    await box.send("hello")
    await box.supervisor.wait_for(1)
    await box.settle()
    born = box.supervisor.born[0]
    box.services.workers.exited(Exited(born.spawn, born.agent, born.session, 1, None, "import error"))
    await box.settle()
    assert box.services.workers.cause(MAIN) == "the worker exited with code 1 (import error) before it connected"
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


# --- ending -----------------------------------------------------------------------------------------------------------


async def test_abort_takes_the_whole_tree_and_tells_the_workers(box):
    await box.send("hello")
    parent, turn = await box.take()
    await box.spawn("kid", parent_run="hello")
    child, run = await box.take("agent:main:subagent:kid")
    await box.spawn("grandkid", "agent:main:subagent:kid", depth=2, parent_run="run-kid")
    await box.send("waiting")
    ended = await box.services.runs.abort(session_key=MAIN, reason="enough")
    assert sorted(ended) == ["hello", "run-grandkid", "run-kid", "waiting"]
    assert (await parent.link.wait_event())[1] == {"runId": "hello", "status": "aborted", "reason": "enough"}
    assert (await child.link.wait_event())[0] == "worker.abort"
    assert box.services.runs.counts() == {}
    with pytest.raises(Refusal, match="it is aborted"):
        await child.finish(run, "too late")
    await box.send("next")
    assert (await parent.next()).message == "next"
    assert turn.run_id == "hello"


async def test_a_worker_that_does_not_let_go_of_an_aborted_run_is_ended(box, mock_clock):
    await box.send("hello")
    worker, _ = await box.take()
    await box.services.runs.abort(run_id="hello")
    await box.settle()
    mock_clock.jump(LET_GO_SECONDS)
    await box.supervisor.wait_for(1, "stopped")
    assert box.supervisor.stopped[0][0] == worker.born.spawn


async def test_a_worker_that_let_go_is_left_alone(box, mock_clock, nursery):
    await box.send("hello")
    worker, run = await box.take()
    await box.services.runs.abort(run_id="hello")
    await worker.finish(run, status="aborted")
    nursery.start_soon(worker.next)
    await box.settle()
    mock_clock.jump(2 * LET_GO_SECONDS)
    await box.settle()
    assert box.supervisor.stopped == []
    nursery.cancel_scope.cancel()


async def test_a_failed_parent_takes_its_children_along_and_a_finished_one_does_not(box):
    await box.send("bad")
    parent, turn = await box.take()
    await box.spawn("a", parent_run="bad")
    await parent.finish(turn, status="failed", error="ValueError")
    assert box.state("run-a") == "aborted"
    await box.send("good")
    turn = await parent.next()
    await box.spawn("b", parent_run="good")
    await parent.finish(turn, "see you")
    assert box.state("run-b") in ("queued", "starting")


# --- held agents and stopping -----------------------------------------------------------------------------------------


async def test_a_quarantined_agent_fails_its_runs_and_says_how_to_release_it(box):
    await box.send("hello")
    box.services.runs.quarantined("main", True, "5 deaths in 60 s")
    ended = await box.services.runs.wait("hello", 60)
    assert ended.error == (
        "agent main is in quarantine (5 deaths in 60 s); to release it: peergate agents release main"
    )
    await box.send("again")
    assert (await box.services.runs.wait("again", 60)).state == "failed"
    assert box.services.runs.is_quarantined("main")


async def test_a_result_for_a_quarantined_agent_waits_for_its_release(box):
    await box.send("hello", "agent:scout:main")
    scout, turn = await box.take("agent:scout:main")
    await box.spawn("kid", "agent:scout:main")
    child, run = await box.take("agent:main:subagent:kid")
    await scout.finish(turn)
    box.services.runs.quarantined("scout", True, "looping")
    await child.finish(run, "42")
    assert box.state("announce:run-kid") == "queued"
    box.services.runs.quarantined("scout", False, "")
    assert (await scout.next()).provenance["result"] == "42"


async def test_a_stopped_agent_waits_for_the_next_message(box):
    await box.send("one")
    worker, _ = await box.take()
    await box.send("two")
    assert await box.services.runs.stop_agent("main", "lunch") == ["one"]
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
