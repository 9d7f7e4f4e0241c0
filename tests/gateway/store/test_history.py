"""What is asked again and again costs the same however much there was before. Counted in steps of SQLite's machine: an
index that is there need not be the one that helps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.services.housekeeping import pruned
from gateway.store import mailbox, runs, sessions
from gateway.store.migrate import migrate
from gateway.store.opening import connect

PARENT = "agent:main:main"
MOST_STEPS = 300
"""For one of a few rows; a look at each of the thousands in the past takes tens of thousands."""
PAST = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO runs
    (id, session, agent, kind, lane, state, parent_run, parent_session, sender, task_name, created_at, ended_at)
SELECT 'r' || i, iif(i % 2, 'agent:main:main', 'agent:main:subagent:k' || i), 'main', iif(i % 2, 'user', 'task'),
    'main', 'done', 'p' || i, iif(i % 2, NULL, 'agent:main:main'), 'x', iif(i % 4, NULL, 'task' || i), i, i FROM n
"""
PRESENT = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
INSERT INTO {} SELECT {} FROM n
"""
ASKED: dict[str, Callable[[sqlite3.Connection], object]] = {
    "children that go on": lambda db: runs.count_unfinished_children(db, PARENT),
    "what goes on below a run": lambda db: runs.unfinished_below_run(db, "p40"),
    "what goes on below a session": lambda db: runs.unfinished_below_session(db, PARENT),
    "whether a session is at work": lambda db: sessions.is_at_work(db, PARENT),
    "a child by its task's name": lambda db: runs.children_named(db, PARENT, "task40", 10),
    "a child by its session": lambda db: runs.children_named(db, PARENT, "agent:main:subagent:k40", 10),
    "runs of a session that go on": lambda db: runs.count_unfinished(db, [PARENT]),
    "the turn that reads": lambda db: runs.reading_run(db, PARENT),
    "what waits from a sender": lambda db: runs.waits_from(db, PARENT, "x"),
    "a session of many": lambda db: sessions.get_many(db, [PARENT]),
    "the mail of a run": lambda db: mailbox.of_run(db, "r40"),
    "sessions too old to keep": lambda db: pruned(db, 0, 5000, 50),
}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("history") / "x.db"
    connection = connect(path)
    migrate(connection)
    connection.execute(PAST)
    yield connection
    connection.close()


def steps_of(db: sqlite3.Connection, asked: Callable[[sqlite3.Connection], object]) -> int:
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    db.set_progress_handler(step, 1)
    try:
        asked(db)
    finally:
        db.set_progress_handler(None, 1)
    return steps


@pytest.mark.parametrize("asked", ASKED)
def test_what_is_asked_again_and_again_does_not_look_at_the_past(db: sqlite3.Connection, asked: str):
    assert 0 < steps_of(db, ASKED[asked]) < MOST_STEPS


@pytest.mark.parametrize("asked", ["what goes on below a run", "what goes on below a session"])
def test_what_goes_on_below_somebody_does_not_look_at_what_goes_on_elsewhere(db: sqlite3.Connection, asked: str):
    db.execute("SAVEPOINT one")
    child = "'agent:main:subagent:e' || i"
    names = "sessions (key, session_id, agent, kind, status, spawned_by, created_at, updated_at)"
    db.execute(PRESENT.format(names, f"{child}, 'e' || i, 'main', 'subagent', 'x', 'agent:main:other', 1, 1"))
    names = "runs (id, session, agent, kind, lane, state, parent_run, parent_session, sender, created_at)"
    db.execute(
        PRESENT.format(names, f"'e' || i, {child}, 'main', 'task', 'x', 'queued', 'o', 'agent:main:other', 'x', 1")
    )
    assert len(runs.unfinished_below_run(db, "o")) == len(runs.unfinished_below_session(db, "agent:main:other")) == 1000
    assert 0 < steps_of(db, ASKED[asked]) < MOST_STEPS
    db.execute("ROLLBACK TO one")
    db.execute("RELEASE one")


def test_a_list_of_the_children_lately_is_in_order_and_has_those_that_go_on(db: sqlite3.Connection):
    db.execute("SAVEPOINT one")
    db.execute("UPDATE runs SET ended_at = NULL WHERE id = 'r2'")
    lately = [run.id for run in runs.children_of_session(db, PARENT, 4995.0, 100)]
    assert lately == ["r5000", "r4998", "r4996", "r2"]
    assert [run.id for run in runs.children_of_session(db, PARENT, 0.0, 2)] == ["r5000", "r4998"]
    db.execute("ROLLBACK TO one")
    db.execute("RELEASE one")
