"""Stories of one turn: accepted, carried out, told; and how turns are ended."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.protocol.errors import Refusal
from gateway.services.engine import LET_GO_SECONDS
from tests.support.engine import finished_turn

MAIN = "agent:main:main"


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
    with pytest.raises(Refusal, match='there is no run "nothing"; peergate runs lists'):
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


async def test_events_are_kept_once_and_told_once(box, mock_clock):
    await box.send("hello")
    worker, run = await box.take()
    assert await worker.say(run, "a", "b") == {"acked": 2}
    assert await worker.say(run, "b", "c", seq=2) == {"acked": 3}  # resent after a reconnect
    mock_clock.jump(0.1)
    await box.settle()
    told = [one["data"]["delta"] for one in box.listener.of("agent") if one["stream"] == "assistant"]
    assert told == ["a", "bc"]


async def test_the_state_of_a_session_is_given_to_its_next_turn(box):
    await box.send("one")
    worker, run = await box.take()
    await box.services.leases.keep_state(worker.seat, run.run_id, {"count": 1})
    with pytest.raises(Refusal, match="at most 262144"):
        await box.services.leases.keep_state(worker.seat, run.run_id, {"big": "x" * 300_000})
    await worker.finish(run)
    await box.send("two")
    assert (await worker.next()).state == {"count": 1}


async def test_listeners_hear_a_run_begin_and_end(box, mock_clock):
    await finished_turn(box, "hello", "hi")
    assert box.listener.of("sessions.changed") == []
    mock_clock.jump(0.1)
    await box.settle()
    phases = [one["data"]["phase"] for one in box.listener.of("agent") if one["stream"] == "lifecycle"]
    assert phases == ["start", "end"]
    assert [(one["reason"], one["session"]["status"]) for one in box.listener.of("sessions.changed")] == [
        ("create", "done")
    ]
    assert [one["message"]["role"] for one in box.listener.of("session.message")] == ["user", "assistant"]
    assert [one["state"] for one in box.listener.of("process")] == ["spawned", "connected"]


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


@pytest.mark.parametrize("how", ["abort", "failure"])
async def test_who_descends_through_a_child_that_has_ended_is_ended_too_and_nobody_is_told(box, how):
    await box.send("hello")
    parent, turn = await box.take()
    await box.spawn("kid", parent_run="hello")
    child, run = await box.take("agent:main:subagent:kid")
    await box.spawn("grandkid", "agent:main:subagent:kid", depth=2, parent_run="run-kid")
    await child.finish(run, "NO_REPLY")
    await box.spawn("other", "agent:scout:main", agent="scout")
    if how == "abort":
        assert sorted(await box.services.runs.abort(session_key=MAIN)) == ["hello", "run-grandkid"]
    else:
        await parent.finish(turn, status="failed", error="ValueError")
    assert box.state("run-grandkid") == "aborted"
    assert box.services.runs.counts() == {"starting": 1}  # the other one, which is nobody's here


async def test_what_a_child_does_with_its_childs_result_is_ended_with_those_above(box):
    await finished_turn(box, "hello", "hi")
    await box.spawn("kid", parent_run="hello")
    child, run = await box.take("agent:main:subagent:kid")
    await box.spawn("grandkid", "agent:main:subagent:kid", depth=2, parent_run="run-kid")
    await child.finish(run, "NO_REPLY")
    grandchild, task = await box.take("agent:main:subagent:grandkid")
    await grandchild.finish(task, "42")
    told = await child.next()
    await child.say(told, "it is")
    assert await box.services.runs.abort(session_key=MAIN) == [told.run_id]
    assert box.services.runs.counts() == {}
