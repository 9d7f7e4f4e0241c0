"""Messages accepted together are accepted as if each came alone after the one before it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.protocol.errors import Refusal
from gateway.services.admission import MAX_UNFINISHED_PER_SESSION, accept_all
from gateway.services.changes import Outcome, Queued, SessionChanged, Steered
from gateway.services.work import ChildLimit, NewMessage, SpawnInfo
from gateway.store import mailbox, records, runs, sessions
from gateway.store.opening import open_writing

MAIN = "agent:main:main"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection, _ = open_writing(tmp_path / "x.db")
    yield connection
    connection.close()


def message(run_id: str, session: str = MAIN, **more: Any) -> NewMessage:
    return NewMessage(run_id, session, more.pop("text", f"text of {run_id}"), **more)


def child(name: str, parent: str = MAIN, most: int | None = None) -> NewMessage:
    spawn = SpawnInfo(parent, 1, max_children=most)
    return message(name, f"agent:main:subagent:{name}", lane="subagent", kind="task", spawn=spawn)


def accept(db: sqlite3.Connection, *messages: NewMessage) -> list[Any]:
    """What became of messages that came at the times 1, 2, 3, …: Accepted, or the refusal's words."""
    told = accept_all(db, [(one, float(at)) for at, one in enumerate(messages, 1)])
    return [one.value if isinstance(one, Outcome) else one for one in told]


def on_disk(db: sqlite3.Connection) -> list[tuple[str, str]]:
    return db.execute("SELECT runs.id, mailbox.text FROM runs JOIN mailbox ON run = runs.id ORDER BY seq").fetchall()


def test_they_are_runs_in_the_order_they_came(db):
    told = accept(db, *(message(f"r{number}", f"agent:main:s{number % 3}") for number in range(70)))
    assert [one.run_id for one in told] == [f"r{number}" for number in range(70)]
    assert all(one.created and one.disposition == "queued" for one in told)
    assert on_disk(db) == [(f"r{number}", f"text of r{number}") for number in range(70)]
    accept(db, message("later"))
    assert on_disk(db)[-1] == ("later", "text of later")


def test_what_is_told_is_what_is_on_disk(db):
    full = message("b", label="called", timeout_s=5, digest="d", sender="x", parent_run="p", kind="k", lane="cron")
    outcomes = accept_all(db, [(child("a"), 1.0), (full, 2.0)])
    queued = [change for one in outcomes if isinstance(one, Outcome) for change in one.changes]
    placed = [change for change in queued if isinstance(change, Queued)]
    assert [(change.run.id, change.owner) for change in placed] == [("a", MAIN), ("b", MAIN)]
    assert [change.run for change in placed] == [runs.get(db, "a"), runs.get(db, "b")]
    key = "agent:main:subagent:a"
    assert [change for change in queued if isinstance(change, SessionChanged)] == [
        SessionChanged(key, "create"), SessionChanged(MAIN, "send")
    ]  # fmt: skip


def test_the_same_message_twice_in_one_batch_is_one_run(db):
    first, again, other = accept(db, message("r1"), message("r1"), message("r1", text="something else"))
    assert (first.created, again.created, again.run_id) == (True, False, "r1")
    assert "used with another text" in str(other)
    assert on_disk(db) == [("r1", "text of r1")]


def test_a_repeated_message_is_told_of_its_first_time_and_not_of_a_full_session(db):
    accept(db, *(message(f"r{number}") for number in range(MAX_UNFINISHED_PER_SESSION)))
    again, new = accept(db, message("r7"), message("new"))
    assert (again.created, again.accepted_at) == (False, 8.0)
    assert isinstance(new, Refusal)


def test_a_key_that_was_used_for_something_else_is_refused_and_takes_nobody_along(db):
    records.remember(db, "operator:0", "k", "digest", "{}", 0.0)
    told = accept(db, *(
        message(f"r{place}", scope=scope, key=key) for place, (scope, key) in enumerate(
            [("operator:0", "k"), ("operator:0", "other"), ("agent:main:main", "k"), (None, "k"), ("operator:0", None)]
        )
    ))  # fmt: skip
    assert [isinstance(one, Refusal) for one in told] == [True, False, False, False, False]
    assert 'the idempotency key "k" was used with other arguments' in str(told[0])
    assert [run for run, _ in on_disk(db)] == ["r1", "r2", "r3", "r4"]


def test_a_session_takes_a_thousand_also_when_the_last_ones_come_together(db):
    accept(db, *(message(f"r{number}") for number in range(MAX_UNFINISHED_PER_SESSION - 2)))
    told = accept(db, message("a"), message("b"), message("c"), message("d", "agent:main:other"))
    assert [isinstance(one, Refusal) for one in told] == [False, False, True, False]
    assert "1000 messages wait for the session agent:main:main already" in str(told[2])
    assert runs.get(db, "c") is None
    assert mailbox.of_run(db, "c") is None


def test_children_that_come_together_are_counted_together(db):
    told = accept(db, child("a", most=2), child("b", most=2), child("c", most=2), child("d", "agent:main:x", most=2))
    assert [isinstance(one, ChildLimit) for one in told] == [False, False, True, False]
    assert (told[2].active, told[2].limit) == (2, 2)
    assert sessions.get(db, "agent:main:subagent:c") is None
    (late,) = accept(db, child("e", most=2))
    assert isinstance(late, ChildLimit)


def test_children_without_a_limit_count_for_one_that_has_it(db):
    told = accept(db, child("a"), child("b"), child("c", most=2))
    assert isinstance(told[2], ChildLimit)


def test_a_parent_that_never_spoke_gets_a_session_once(db):
    accept(db, child("a"), child("b"), message("hello"))
    found = sessions.get_many(db, [MAIN, "agent:main:subagent:a", "agent:main:subagent:b"])
    assert {key: (one.spawned_by, one.spawn_depth) for key, one in found.items()} == {
        MAIN: (None, 0), "agent:main:subagent:a": (MAIN, 1), "agent:main:subagent:b": (MAIN, 1),
    }  # fmt: skip


def test_a_refused_message_leaves_no_session_and_takes_nobody_along(db):
    told = accept(db, message("a"), message("b", "no key"), message("c", "agent:main:fresh", max_transcript_bytes=0))
    assert [isinstance(one, Refusal) for one in told] == [False, True, False]
    full = accept(db, message("d", max_transcript_bytes=0), message("e"))
    assert ["allows 0" in str(full[0]), full[1].created] == [True, True]
    assert [run for run, _ in on_disk(db)] == ["a", "c", "e"]


def test_sessions_were_touched_when_the_last_message_of_the_batch_came(db):
    accept(db, message("a"), message("b", "agent:main:other"))
    accept(db, message("c"), message("d"), message("e", "agent:main:other"))
    found = sessions.get_many(db, [MAIN, "agent:main:other"])
    assert {key: (one.created_at, one.updated_at) for key, one in found.items()} == {
        MAIN: (1.0, 3.0), "agent:main:other": (2.0, 3.0)
    }  # fmt: skip


def test_a_message_that_queues_lets_its_stopped_agent_work(db):
    records.stop_agent(db, "main", "enough", 0.0)
    records.stop_agent(db, "scout", "enough", 0.0)
    accept(db, message("a"), message("b"))
    assert records.stopped_agents(db) == ["scout"]


def test_messages_go_into_the_turn_that_reads_them_as_they_ask(db):
    accept(db, message("turn"))
    runs.update(db, "turn", state="running", steering=1)
    outcomes = accept_all(db, [(message("in", steer=True), 2.0), (message("after"), 3.0)])
    changes = [one.changes[-1] for one in outcomes if isinstance(one, Outcome)]
    assert [type(change) for change in changes] == [Steered, Queued]
    assert isinstance(changes[0], Steered)
    assert changes[0].mail == mailbox.of_run(db, "in")
    assert changes[0].mail.taken_by == "turn"


def test_a_message_is_not_given_to_a_turn_before_an_older_one_of_its_sender(db):
    accept(db, message("turn", sender="boss"), message("early", sender="me"))
    runs.update(db, "turn", state="running", steering=1)  # it began to read after that
    late, other = message("late", sender="me", steer=True), message("other", sender="you", steer=True)
    assert [one.disposition for one in accept(db, late, other)] == ["queued", "steered"]
    in_one_commit = [message("first", sender="she"), message("second", sender="she", steer=True)]
    assert [one.disposition for one in accept(db, *in_one_commit)] == ["queued", "queued"]
