"""Stories of seats: who has one, who has none any more, and who sits there and does nothing."""

from __future__ import annotations

import threading

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.protocol.errors import Refusal
from supervisor.messages import Exited
from tests.support.engine import Born, Box, Worker, finished_turn


def tell_the_end_of(box: Box, born: Born) -> None:
    box.services.workers.exited(Exited(born.spawn, born.agent, born.session, None, 9))


async def test_a_worker_whose_end_is_told_before_its_greeting_is_over_takes_no_seat(box, mock_clock):
    await box.send("hello")
    await box.supervisor.wait_for(1)
    await box.settle()
    dead = box.supervisor.born[0]
    tell_the_end_of(box, dead)
    Worker(box, dead)  # says hello: its ticket was good when it was claimed
    assert box.services.workers.of_agent("main") == 0
    await box.settle()
    mock_clock.jump(1)
    await box.settle()
    assert len(box.supervisor.born) == 2
    _, run = await box.take()
    assert (run.message, run.attempt) == ("hello", 1)


async def test_a_call_read_before_its_worker_died_is_given_no_run(box):
    idle = await finished_turn(box, "hello", "hi")
    idle.die()
    await box.send("again")
    idle.connect()
    with pytest.raises(Refusal, match="the worker has ended"):
        await idle.next()
    await box.settle()
    assert len(box.supervisor.born) == 2
    again, run = await box.take()
    assert (run.message, run.attempt) == ("again", 1)
    await again.finish(run, "hi again")


async def test_a_worker_that_ended_before_its_birth_was_answered_is_replaced(box, monkeypatch, mock_clock):
    bear = box.supervisor.spawn

    async def bear_one_that_dies(agent: str, session: str) -> Born:
        born: Born = await bear(agent, session)
        tell_the_end_of(box, born)
        monkeypatch.setattr(box.supervisor, "spawn", bear)
        return born

    monkeypatch.setattr(box.supervisor, "spawn", bear_one_that_dies)
    await box.send("hello")
    await box.settle()
    box.hired.add(box.supervisor.born[0].spawn)
    mock_clock.jump(1)
    await box.settle()
    assert len(box.supervisor.born) == 2
    _, run = await box.take()
    assert run.message == "hello"
    assert box.services.workers.of_agent("main") == 1


async def test_a_worker_that_sits_there_and_asks_for_nothing_is_ended_and_another_takes_the_run(box, mock_clock):
    silent = await finished_turn(box, "hello", "hi")
    await box.send("again")
    await after(box, mock_clock, 14)
    assert box.supervisor.stopped == []
    await after(box, mock_clock, 1)
    assert box.supervisor.stopped == [
        (silent.born.spawn, "it asked for no run within 15 s while one waited for it"),
    ]
    silent.die(code=0)
    _, run = await box.take()
    assert (run.message, run.attempt) == ("again", 1)


async def test_a_worker_that_comes_back_has_its_time_to_ask_anew(box, mock_clock):
    worker = await finished_turn(box, "hello", "hi")
    await box.send("again")
    await after(box, mock_clock, 14)
    worker.connect()
    await after(box, mock_clock, 14)
    assert box.supervisor.stopped == []
    await after(box, mock_clock, 1)
    assert len(box.supervisor.stopped) == 1


async def test_a_worker_that_asked_in_time_is_left_alone_in_its_turn_and_after_it(box, mock_clock):
    worker = await finished_turn(box, "hello", "hi")
    await box.send("again")
    await after(box, mock_clock, 1)
    run = await worker.next()
    await after(box, mock_clock, 20)
    await worker.finish(run, "hi again")
    await after(box, mock_clock, 20)
    assert box.supervisor.stopped == []


async def test_a_worker_that_asks_while_the_disk_is_slow_is_left_alone(box, nursery, mock_clock):
    worker = await finished_turn(box, "hello", "hi")
    await box.send("again")
    await box.settle()
    slow, got = threading.Event(), []

    async def ask() -> None:
        got.append(await worker.next())

    try:
        box.services.database.post(lambda db: slow.wait(60))
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        mock_clock.jump(20)
        await wait_all_tasks_blocked()
        assert box.supervisor.stopped == []
    finally:
        slow.set()
    await box.settle()
    assert [run.message for run in got] == ["again"]


async def test_a_worker_that_has_not_connected_yet_is_left_to_the_deadline_of_its_run(box, mock_clock):
    await box.send("hello")
    await box.settle()
    await box.services.runs.abort(run_id="hello")
    await box.send("again")
    await after(box, mock_clock, 20)
    assert box.supervisor.stopped == []
    _, run = await box.take()
    assert run.message == "again"


async def after(box: Box, clock: MockClock, seconds: float) -> None:
    """Let so much time pass, and everything that is due then happen."""
    await box.settle()
    clock.jump(seconds)
    await box.settle()
