"""Limits that end a run or refuse a message: each names itself and its key. And an agent that stays stopped."""

from __future__ import annotations

import pytest

from gateway.protocol.errors import Refusal
from tests.support.engine import open_box

MAIN = "agent:main:main"


def tree(**limits):
    return {"agents": {"defaults": {"limits": {"pids": 9}}, "entries": {"main": {"limits": limits}}}}


@pytest.mark.parametrize(
    ("signal", "reason", "error"),
    [
        (
            9,
            "agents.entries.main.limits.memoryBytes: 2048 bytes of memory, 1024 allowed",
            "its worker was ended by signal 9 "
            "(agents.entries.main.limits.memoryBytes: 2048 bytes of memory, 1024 allowed)",
        ),
        (
            9,
            "agents.defaults.limits.pids: 10 processes, 9 allowed",
            "its worker was ended by signal 9 (agents.defaults.limits.pids: 10 processes, 9 allowed)",
        ),
        (
            24,
            "agents.entries.main.limits.cpuSeconds: 5 s allowed",
            "its worker used up its processor time (agents.entries.main.limits.cpuSeconds: 5 s allowed)",
        ),
    ],
)
async def test_a_run_that_used_more_than_it_may_has_failed_and_is_not_tried_again(
    tmp_path, mock_clock, signal, reason, error
):
    async with open_box(tmp_path, tree=tree(memoryBytes=1024, cpuSeconds=5)) as box:
        await box.send("hello")
        worker, run = await box.take()
        await worker.say(run, "so far")
        worker.die(signal=signal, reason=reason)
        ended = await box.services.runs.wait("hello", 60)
        assert (ended.state, ended.attempt, ended.text, ended.error) == ("failed", 1, "so far", error)
        assert box.services.mailbox.list()["parked"] == 0


async def test_a_full_transcript_takes_no_message_until_it_is_begun_anew(tmp_path, mock_clock):
    async with open_box(tmp_path, tree=tree(transcriptBytes=10)) as box:
        await box.send("héllo")
        worker, run = await box.take()
        await worker.finish(run, "world")
        with pytest.raises(Refusal) as refused:
            await box.send("again")
        assert refused.value.shape.message == (
            "the transcript of agent:main:main has 11 bytes, agents.entries.main.limits.transcriptBytes allows 10; to "
            """begin it anew: peergate call sessions.reset '{"key": "agent:main:main"}'"""
        )
        assert (await box.send("héllo")).created is False  # a repeated call gets its answer as before
        before = box.services.sessions.row(MAIN)
        assert await box.services.runs.reset(MAIN)
        after = box.services.sessions.row(MAIN)
        assert before is not None
        assert after is not None
        assert before.session_id != after.session_id
        assert box.texts() == []
        await box.send("again")
        run = await worker.next()
        assert run.message == "again"
        with pytest.raises(Refusal, match="is at work; wait, or: peergate abort agent:main:main"):
            await box.services.runs.reset(MAIN)
        assert await box.services.runs.reset("agent:main:none") is None


async def test_a_childs_result_is_told_to_a_session_that_is_full(tmp_path, mock_clock):
    async with open_box(tmp_path, tree=tree(transcriptBytes=10)) as box:
        await box.send("hello")
        parent, turn = await box.take()
        await box.spawn("kid", parent_run="hello")
        await parent.finish(turn, "hello to you too")
        child, run = await box.take("agent:main:subagent:kid")
        await child.finish(run, "42")
        assert (await parent.next()).provenance["result"] == "42"


async def test_a_stopped_agent_stays_stopped_for_the_next_gateway_until_it_gets_a_message(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        await box.send("one")
        await box.take()
        await box.send("two")
        await box.services.agents.stop("main", "lunch")
    async with open_box(tmp_path, generation=2) as box:
        await box.settle()
        assert (box.state("two"), box.supervisor.asked) == ("queued", [])
        await box.send("three")
        worker, run = await box.take()
        assert run.message == "two"
    async with open_box(tmp_path, live=[worker], generation=3) as box:
        worker.connect()
        await worker.next(holding=run)
        await worker.finish(run, "2")
        assert (await worker.next()).message == "three"
