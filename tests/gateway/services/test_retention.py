"""What is forgotten of the past, after how long and in how large steps; and what never is."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.protocol.errors import Refusal
from gateway.protocol.keys import parse_key
from gateway.services import housekeeping
from gateway.services.housekeeping import House
from gateway.store import runs
from tests.support.calls import Caller, worker_principal
from tests.support.engine import Box, Worker, finished_turn, open_box

MAIN, KID = "agent:main:main", "agent:main:subagent:kid"
DAY = 24 * 3600
SMALL: dict[str, Any] = {"session": {"maintenance": {"pruneAfter": "7d", "maxEntries": 5}}}


@pytest.fixture(autouse=True)
def nobody_else_keeps_house(monkeypatch):
    monkeypatch.setattr(housekeeping, "EVERY_SECONDS", 1e12)


def rows(box: Any, table: str) -> int:
    count: int = box.services.database.read(lambda db: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    return count


async def one_child(box: Any, name: str) -> None:
    """A sub-agent that does something outside, says something, and ends."""
    await box.spawn(name, expects_completion=False)
    child, run = await box.take(f"agent:main:subagent:{name}")
    await child.note(run, "look", effect="pure")
    await child.say(run, "hm")
    await child.finish(run, "done")
    child.die(code=0)


async def test_what_is_over_is_forgotten_by_and_by_and_main_sessions_stay(tmp_path, mock_clock):
    async with open_box(tmp_path, tree=SMALL) as box:
        house = House(box.services.engine)
        await finished_turn(box, "hello", "hi")
        await one_child(box, "kid")
        assert [rows(box, table) for table in ("run_events", "tool_calls", "mailbox", "runs")] == [1, 1, 2, 2]
        mock_clock.jump(DAY + 1)
        await house.clean()
        assert [rows(box, table) for table in ("run_events", "tool_calls", "mailbox", "runs")] == [0, 0, 0, 2]
        mock_clock.jump(7 * DAY)
        await house.clean()
        assert rows(box, "runs") == 0
        assert [row.key for row in box.services.sessions.list_rows()[0]] == ["agent:main:main"]
        assert box.texts() == [("user", "hello"), ("assistant", "hi")]


async def test_the_longest_idle_sessions_go_when_there_are_too_many(tmp_path, mock_clock):
    tree = SMALL | {"agents": {"defaults": {"subagents": {"archiveAfterMinutes": 0}}}}
    async with open_box(tmp_path, tree=tree) as box:
        for number in range(8):
            mock_clock.jump(1)
            await one_child(box, str(number))
        await House(box.services.engine).clean()
        left = {row.key for row in box.services.sessions.list_rows()[0]}
        assert left == {"agent:main:main"} | {f"agent:main:subagent:{number}" for number in range(4, 8)}


async def test_nothing_is_removed_in_mode_warn_and_the_operator_hears_of_it_once_an_hour(tmp_path, mock_clock):
    tree = {
        "session": {"maintenance": {"mode": "warn", "pruneAfter": 7, "maxEntries": 2}},
        "agents": {"defaults": {"subagents": {"archiveAfterMinutes": 0}}},
    }
    async with open_box(tmp_path, tree=tree) as box:
        house = House(box.services.engine)
        for number in range(3):
            await one_child(box, str(number))
        mock_clock.jump(8 * DAY)
        box.listener.events.clear()
        await house.clean()
        await house.clean()
        assert (rows(box, "sessions"), rows(box, "runs")) == (4, 3)
        (notice,) = [one for one in box.listener.of("notice") if one["code"] == "MAINTENANCE"]
        assert notice["message"].startswith("3 idle sessions are older than session.maintenance.pruneAfter (7)")


async def test_what_an_operator_has_to_decide_about_is_kept_whatever_its_age(tmp_path, mock_clock):
    async with open_box(tmp_path, tree=SMALL) as box:
        await box.spawn("kid")
        child, run = await box.take(KID)
        await child.note(run, "charge")
        child.die()
        await box.services.runs.wait("run-kid", 60)
        mock_clock.jump(100 * DAY)
        await House(box.services.engine).clean()
        (shown,) = box.services.mailbox.list(name="run-kid")["messages"]
        assert [one["name"] for one in shown["actions"]] == ["charge"]
        assert box.services.sessions.row(KID) is not None


async def test_ten_thousand_runs_leave_no_more_than_a_thousand_do(tmp_path, mock_clock):
    async with open_box(tmp_path, tree=SMALL) as box:
        house = House(box.services.engine)
        sizes = []
        for _ in range(10):
            await a_thousand_ended_runs(box)
            mock_clock.jump(8 * DAY)
            await house.clean()
            sizes.append([rows(box, table) for table in ("runs", "mailbox", "run_events", "tool_calls", "idempotency")])
        assert sizes == [[0] * 5] * 10


async def test_beyond_a_number_the_oldest_runs_go_but_never_those_of_a_day(tmp_path, mock_clock, monkeypatch):
    monkeypatch.setattr(housekeeping, "RUNS_KEPT", 300)
    async with open_box(tmp_path) as box:
        house = House(box.services.engine)
        await a_thousand_ended_runs(box)
        await house.clean()
        assert rows(box, "runs") == 1000
        mock_clock.jump(DAY + 1)
        await house.clean()
        assert rows(box, "runs") == 300


async def test_one_round_has_a_bound(tmp_path, mock_clock, monkeypatch):
    async with a_thousand_to_clean(tmp_path, monkeypatch) as (box, house):
        mock_clock.jump(8 * DAY)
        await house.clean()
        assert (rows(box, "runs"), rows(box, "idempotency"), rows(box, "run_events")) == (970, 970, 970)


async def test_events_of_many_that_ended_in_one_moment_go_by_and_by(tmp_path, mock_clock, monkeypatch):
    async with a_thousand_to_clean(tmp_path, monkeypatch) as (box, house):
        mock_clock.jump(2 * 3600)
        for left in (970, 940, 910):
            await house.clean()
            assert rows(box, "run_events") == left
        assert rows(box, "runs") == 1000


async def test_many_idle_sub_agents_are_archived_in_one_round_a_few_at_a_time(box, mock_clock, monkeypatch):
    monkeypatch.setattr(housekeeping, "STEP", 2)
    for number in range(5):
        await one_child(box, f"kid{number}")
    mock_clock.jump(3601)
    before = box.services.database.commits
    await House(box.services.engine).clean()
    assert [row.key for row in box.services.sessions.list_rows()[0]] == [MAIN]
    assert box.services.database.commits - before >= 3


@asynccontextmanager
async def a_thousand_to_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Box, House]]:
    """A thousand runs that ended in one moment, and a house that takes ten of them at once and thirty in a round."""
    monkeypatch.setattr(housekeeping, "STEP", 10)
    monkeypatch.setattr(housekeeping, "STEPS", 3)
    async with open_box(tmp_path, tree=SMALL) as box:
        await a_thousand_ended_runs(box)
        yield box, House(box.services.engine)


async def a_thousand_ended_runs(box: Any) -> None:
    """As the engine leaves them; written at once, because it is the cleaning that is measured here."""
    now = box.services.clock()
    await box.services.database.write(lambda db: write_thousand(db, now))


def write_thousand(db: sqlite3.Connection, now: float) -> None:
    first = runs.newest_seq(db)
    many = f"WITH RECURSIVE n (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {first + 999}) "
    for table, columns, values in (
        (
            "runs",
            "id, session, agent, kind, lane, state, sender, created_at, ended_at",
            f"'r' || i, '{MAIN}', 'main', 'user', 'main', 'done', 'x', {now}, {now}",
        ),
        (
            "mailbox",
            "run, session, state, text, provenance, created_at",
            f"'r' || i, '{MAIN}', 'done', 'hi', '{{}}', {now}",
        ),
        ("run_events", "run, attempt, seq, at, stream, data", f"'r' || i, 1, 1, {now}, 'assistant', '{{}}'"),
        (
            "tool_calls",
            "run, call, name, effect, state, attempt, started_at",
            f"'r' || i, 'c', 'n', 'pure', 'done', 1, {now}",
        ),
        ("idempotency", "scope, key, params_hash, result, at", f"'s', 'r' || i, 'd', '{{}}', {now}"),
    ):
        db.execute(f"{many} INSERT INTO {table} ({columns}) SELECT {values} FROM n")


async def test_a_sub_agent_is_kept_while_somebody_below_it_is_at_work(box, mock_clock):
    """Each has told its child what to do and has ended; the last one's result goes up the same way."""
    house = House(box.services.engine)
    keys = [MAIN, *(f"agent:main:subagent:{name}" for name in ("a", "b", "c"))]
    workers, turns = [await finished_turn(box, "hello", "hi")], []
    for depth, name in enumerate("abc", 1):
        await box.spawn(name, keys[depth - 1], depth=depth)
        worker, run = await box.take(keys[depth])
        workers.append(worker)
        turns.append(run)
    for worker, run in zip(workers[1:3], turns, strict=False):
        await worker.finish(run, "NO_REPLY")
    mock_clock.jump(2 * 3600)
    await house.clean()
    with pytest.raises(Refusal, match="is at work"):
        await box.services.edits.delete(parse_key(keys[1]))
    assert {row.key for row in box.services.sessions.list_rows()[0]} == {*keys}
    await workers[3].finish(turns[2], "42")
    for worker in workers[2:0:-1]:
        told = await worker.next()
        assert told.provenance["result"] == "42"
        await worker.finish(told, "42")
    mock_clock.jump(2 * 3600)
    await house.clean()
    assert [row.key for row in box.services.sessions.list_rows()[0]] == [MAIN]


async def test_events_are_dropped_also_after_the_clock_was_put_back(box, mock_clock, monkeypatch):
    house, clock = House(box.services.engine), box.services.engine.clock
    monkeypatch.setattr(box.services.engine, "clock", lambda: clock() + 365 * DAY * 1000)
    await house.clean()
    monkeypatch.setattr(box.services.engine, "clock", clock)
    await one_child(box, "kid")
    mock_clock.jump(2 * 3600)
    await house.clean()
    assert rows(box, "run_events") == 0


@pytest.mark.parametrize("fate", ["parked", "dropped"])
async def test_answers_that_a_parked_turn_may_ask_for_again_are_kept(box, mock_clock, fate):
    house, asked = House(box.services.engine), {"action": "wait", "taskIds": ["run-kid"], "timeoutSeconds": 0}
    await box.spawn("kid")
    child, run = await box.take(KID)
    await box.send("hello")
    worker, turn = await box.take()
    await child.finish(run, "42")
    call = {"name": "subagents", "args": asked, "idempotencyKey": "hello:abc:1"}
    answer = await Caller(box.services, worker_principal(worker.born)).ask("tools.invoke", **call)
    assert [one["result"] for one in answer["results"]] == ["42"]
    await worker.note(turn, "charge")
    worker.die()
    await box.services.runs.wait("hello", 60)
    if fate == "dropped":
        await box.services.mailbox.drop("hello")
    mock_clock.jump(2 * DAY)
    await house.clean()
    assert rows(box, "idempotency") == (1 if fate == "parked" else 0)
    if fate == "parked":
        await box.services.mailbox.retry("hello")
        worker, _ = await box.take()
        assert await Caller(box.services, worker_principal(worker.born)).ask("tools.invoke", **call) == answer


async def test_words_that_waited_for_long_are_given_to_every_attempt_of_the_run_they_were_handed_to(box, mock_clock):
    await finished_turn(box, "hello", "hi")
    await box.services.cron.wake("next-heartbeat", "the tea is ready")
    mock_clock.jump(8 * DAY)
    await box.send("what is new?")
    worker = Worker(box, box.supervisor.born[0])
    run = await worker.next()
    assert run.message == "System: the tea is ready\n\nwhat is new?"
    await box.services.cron.clean()
    worker.die()
    again, second = await box.take()
    assert second.message == run.message
    await again.finish(second, "tea")
    await box.services.cron.clean()
    assert rows(box, "cron_words") == 0
