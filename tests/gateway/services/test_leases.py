"""How a run comes into a worker's hands: one that no frame can hold fails once and leaves its session free; and what
happens while a lease is being written."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from gateway.protocol.calls.worker import Assignment
from gateway.protocol.frames import Response, encode
from gateway.store import runs, sessions
from tests.support.engine import Worker, finished_turn

MAIN = "agent:main:main"
TOO_LARGE = '{"n": ' + "9" * 30 + "}"
TOO_LONG = '{"text": "' + "x" * 3_000_000 + '"}'


@pytest.mark.parametrize("state", [TOO_LARGE, TOO_LONG], ids=["a number no frame holds", "more than a peer may leave"])
async def test_a_run_that_cannot_be_given_to_its_worker_fails_with_a_text_and_the_next_one_runs(box, nursery, state):
    worker = await finished_turn(box, "hello", "hi")
    await box.services.database.write(lambda db: sessions.set_state(db, MAIN, state, 0.0))
    await box.send("first")
    await box.send("second")
    got = []

    async def ask():
        got.append(await worker.next())

    nursery.start_soon(ask)
    ended = await box.services.runs.wait("first", 5)
    assert ended.state == "failed"
    assert ended.error is not None
    assert "could not be given to its worker" in ended.error
    await box.services.runs.wait("second", 5)
    await box.services.database.write(lambda db: sessions.set_state(db, MAIN, "{}", 0.0))
    await box.send("third")
    await box.settle()
    assert [run.run_id for run in got] == ["third"]
    await worker.finish(got[0], "well")
    assert box.supervisor.stopped == []


async def test_a_worker_that_comes_back_with_a_run_nobody_can_tell_it_again_lets_go_of_it(box):
    await box.send("hello")
    worker, run = await box.take()
    await box.services.database.write(lambda db: sessions.set_state(db, MAIN, TOO_LARGE, 0.0))
    worker.connect()
    again = await worker.next(holding=run)
    assert again.abandoned
    assert box.state("hello") == "failed"


async def test_a_time_limit_stored_before_it_was_bounded_wedges_nothing(box):
    await box.send("hello", timeout_s=2**63 - 1)
    worker, run = await box.take()
    assert encode(Response("1", True, run))
    assert run.deadline_ms is not None
    await worker.finish(run, "hi")


async def test_a_deadline_stored_before_it_was_bounded_wedges_nothing(box):
    await box.send("hello")
    worker, run = await box.take()
    await box.services.database.write(lambda db: runs.update(db, "hello", deadline_at=9.2e21))
    back = Worker(box, worker.born)
    again = await back.next(holding=run)
    assert again.resumed
    assert encode(Response("1", True, again))


async def ask_a_slow_disk(box: Any, nursery: trio.Nursery) -> tuple[Worker, list[Assignment], threading.Event]:
    """A worker whose lease waits to be written until the event is set; what it is given."""
    worker, taken, begun, held = await box.hire(), [], threading.Event(), threading.Event()

    def write(db: object) -> None:
        begun.set()
        held.wait(20)

    async def take() -> None:
        taken.append(await worker.next())

    box.services.database.post(write)
    await trio.to_thread.run_sync(begun.wait)  # what comes now is in one transaction after it
    nursery.start_soon(take)
    await trio.testing.wait_all_tasks_blocked()
    return worker, taken, held


async def test_a_run_that_was_aborted_as_it_was_leased_is_given_to_nobody(box, nursery):
    await box.send("first")
    _, taken, held = await ask_a_slow_disk(box, nursery)
    nursery.start_soon(partial(box.services.runs.abort, run_id="first"))
    await trio.testing.wait_all_tasks_blocked()
    held.set()
    await box.settle()
    assert box.state("first") == "aborted"
    await box.send("second")
    await box.settle()
    assert [run.message for run in taken] == ["second"]


async def test_a_worker_that_asked_for_its_run_in_time_has_it_however_slow_the_disk_is(box, mock_clock, nursery):
    await box.send("hello")
    worker, taken, held = await ask_a_slow_disk(box, nursery)
    mock_clock.jump(31)  # agents.defaults.subagents.spawnTimeoutMs
    await trio.testing.wait_all_tasks_blocked()
    held.set()
    await box.settle()
    assert box.state("hello") == "running"
    await worker.finish(taken[0], "hi")
