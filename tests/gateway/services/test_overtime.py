"""How long a run may take: which limit counts, the warning, silence, and what is kept of a turn cut short."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from gateway.services.overtime import timeout_of, warn_at
from tests.support.engine import Worker, finished_turn, open_box, settings_from


def limited(**defaults):
    return {"agents": {"defaults": defaults}}


@pytest.mark.parametrize(
    ("wanted", "default", "wall", "seconds"),
    [
        (None, 600, None, 600),
        (None, 0, None, 0),
        (5, 600, None, 5),
        (0, 600, None, 0),
        (None, 600, 60, 60),
        (None, 0, 60, 60),
        (0, 600, 60, 60),
        (5, 600, 60, 5),
        (90, 600, 60, 60),
        (2**63 - 1, 600, None, 2_592_000),
        (2**63 - 1, 600, 60, 60),
    ],
)
def test_a_run_has_its_own_limit_or_the_configured_one_and_never_more_than_the_wall(wanted, default, wall, seconds):
    limits = {"wallSeconds": wall} if wall else {}
    settings = settings_from(limited(timeoutSeconds=default, limits=limits))
    assert timeout_of("main", wanted, settings) == seconds


@pytest.mark.parametrize(("seconds", "at"), [(10, 8), (100, 80), (150, 120), (151, 121), (3600, 3570)])
def test_the_warning_comes_after_four_fifths_or_thirty_seconds_before_whichever_is_later(seconds, at):
    assert warn_at(0.0, seconds * 1000.0) == at * 1000


async def test_listeners_and_the_worker_are_warned_before_the_end(box, mock_clock):
    await box.send("hello", timeout_s=100)
    _, run = await box.take()
    assert run.warn_ms is not None
    assert run.deadline_ms is not None
    assert run.deadline_ms - run.warn_ms == 20_000
    mock_clock.jump(79)
    await box.settle()
    assert box.listener.of("run.deadline") == []
    mock_clock.jump(2)
    await box.settle()
    (warning,) = box.listener.of("run.deadline")
    assert (warning["runId"], warning["deadlineMs"], warning["secondsLeft"]) == ("hello", run.deadline_ms, 19.0)


@pytest.mark.parametrize(
    ("tree", "own", "key"),
    [
        (limited(timeoutSeconds=9), None, "agents.defaults.timeoutSeconds"),
        (limited(limits={"wallSeconds": 9}), None, "agents.defaults.limits.wallSeconds"),
        (
            {"agents": {"entries": {"main": {"limits": {"wallSeconds": 9}}}}},
            None,
            "agents.entries.main.limits.wallSeconds",
        ),
        ({}, 9, "its own limit: runTimeoutSeconds of the spawn"),
    ],
)
async def test_a_run_that_is_late_names_the_limit(tmp_path, mock_clock, tree, own, key):
    async with open_box(tmp_path, tree=tree) as box:
        await box.send("hello", timeout_s=own)
        await box.take()
        mock_clock.jump(10)
        ended = await box.services.runs.wait("hello", 1e6)
        assert ended.state == "timed_out"
        assert str(ended.error).startswith(f"the turn took longer than 9 s ({key}")


async def test_a_worker_that_notices_first_is_told_the_same_limit(box):
    await box.send("hello", timeout_s=9)
    worker, run = await box.take()
    await worker.finish(run, status="timed_out")
    error = (await box.services.runs.wait("hello", 0)).error
    assert str(error).startswith("the turn took longer than 9 s (its own limit")


async def test_a_child_cut_short_is_announced_with_what_it_had_said(box, mock_clock):
    await finished_turn(box, "hello", "hi")
    parent = Worker(box, box.supervisor.born[0])
    await box.spawn("kid", timeout_s=60)
    child, run = await box.take("agent:main:subagent:kid")
    await child.say(run, "found 3 of 5, ", "still looking")
    mock_clock.jump(61)
    told = await parent.next()
    assert told.provenance["status"] == "timeout"
    assert told.provenance["result"] == "found 3 of 5, still looking"
    assert "took longer than 60 s" in told.provenance["error"]
    assert box.texts("agent:main:subagent:kid")[-1] == ("assistant", "found 3 of 5, still looking")


async def test_a_silent_turn_is_ended_and_the_key_is_named(tmp_path, mock_clock):
    async with open_box(tmp_path, tree=limited(noProgressSeconds=60)) as box:
        await box.send("hello")
        worker, run = await box.take()
        for seq, sign in enumerate((worker.say, worker.note, worker.steer), 1):
            mock_clock.jump(50)
            await box.settle()
            if sign == worker.say:
                await worker.say(run, "thinking", seq=seq)
            elif sign == worker.note:
                await worker.note(run, "look", effect="pure")
            else:
                await worker.steer(run)
        assert box.state("hello") == "running"
        mock_clock.jump(61)
        ended = await box.services.runs.wait("hello", 1e6)
        assert (ended.state, ended.text) == ("timed_out", "thinking")
        assert ended.error == "the turn gave no sign of progress for 60 s (agents.defaults.noProgressSeconds)"


async def test_a_turn_that_waits_for_somebody_may_be_silent(tmp_path, mock_clock):
    async with open_box(tmp_path, tree=limited(noProgressSeconds=60)) as box:
        await box.send("hello")
        await box.take()
        box.services.runs.hold_slot("hello", True)
        for _ in range(5):
            mock_clock.jump(61)
            await box.settle()
        assert box.state("hello") == "waiting"
        box.services.runs.hold_slot("hello", False)
        mock_clock.jump(59)
        await box.settle()
        assert box.state("hello") == "running"
        mock_clock.jump(2)
        assert (await box.services.runs.wait("hello", 1e6)).state == "timed_out"


async def test_silence_counts_anew_for_the_next_gateway(tmp_path, mock_clock):
    async with open_box(tmp_path, tree=limited(noProgressSeconds=60)) as box:
        await box.send("hello")
        worker, _ = await box.take()
    async with open_box(tmp_path, live=[worker], generation=2, tree=limited(noProgressSeconds=60)) as box:
        mock_clock.jump(61)
        assert (await box.services.runs.wait("hello", 1e6)).state == "timed_out"


async def test_a_sign_of_progress_counts_from_when_it_came_however_slow_the_disk_is(tmp_path, mock_clock, nursery):
    async with open_box(tmp_path, tree=limited(noProgressSeconds=60)) as box:
        await box.send("hello")
        worker, run = await box.take()
        mock_clock.jump(50)
        held = threading.Event()
        box.services.database.post(lambda db: held.wait(20))
        nursery.start_soon(worker.say, run, "still here")
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(20)
        await trio.testing.wait_all_tasks_blocked()
        held.set()
        await box.settle()
        assert box.state("hello") == "running"


async def test_a_turn_whose_silence_is_limited_no_more_is_watched_no_more(tmp_path, mock_clock):
    async with open_box(tmp_path, tree=limited(noProgressSeconds=10)) as box:
        await box.send("hello")
        worker, run = await box.take()
        mock_clock.jump(5)
        await box.settle()
        box.services.reload(settings_from(limited(noProgressSeconds=0)))
        mock_clock.jump(6)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        due = [key for key in box.services.engine.timers._due if key == ("idle", "hello")]
        assert due == []  # one that is due at once would be looked at again and again, until the turn speaks
        mock_clock.jump(1000)
        await box.settle()
        await worker.finish(run, "there")
        assert box.state("hello") == "done"
