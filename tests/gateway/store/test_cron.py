"""Rows of cron: what is kept of the past, words that wait, pages of the log."""

from __future__ import annotations

import sqlite3

import pytest

from gateway.store import cron
from gateway.store.cron import CallRow, JobRow, RunRow
from gateway.store.migrate import migrate


@pytest.fixture
def db():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


def run(number: int, job: str = "j", ended: int | None = 1, status: str = "ok") -> RunRow:
    return RunRow(f"{job}:{number}", job, number, 1, 1, None, status, None, ended, f'{{"n": "line {number}"}}')


def test_a_slot_is_taken_once(db):
    assert [cron.take_slot(db, "j", 5), cron.take_slot(db, "j", 5), cron.take_slot(db, "k", 5)] == [True, False, True]
    cron.put_job(db, JobRow("j", 1, None, "{}"))
    cron.remove_job(db, "j")
    assert cron.take_slot(db, "j", 5) is True


def test_two_jobs_cannot_have_one_declaration_key(db):
    cron.put_job(db, JobRow("a", 1, "key", "{}"))
    assert cron.is_declared(db, "key")
    with pytest.raises(sqlite3.IntegrityError):
        cron.put_job(db, JobRow("b", 1, "key", "{}"))


def test_a_page_of_ended_runs(db):
    for number in range(5):
        cron.put_run(db, run(number, status="ok" if number % 2 else "error"))
    cron.put_run(db, run(9, ended=None))
    found, total = cron.page(db, {"job": "j"}, {}, None, True, 2, 1)
    assert ([one.slot for one in found], total) == ([3, 2], 5)
    found, total = cron.page(db, {}, {"status": ["error"]}, None, False, 10, 0)
    assert ([one.slot for one in found], total) == ([0, 2, 4], 3)
    assert [one.slot for one in cron.page(db, {}, {}, "LINE 4", True, 10, 0)[0]] == [4]
    assert [one.run for one in cron.open_runs(db)] == ["j:9"]


def test_of_the_past_the_newest_of_each_job_is_kept_and_what_goes_on(db):
    cron.put_run(db, run(0, ended=None))
    for number in range(1, 11):
        cron.put_run(db, run(number, ended=number))
        cron.take_slot(db, "j", number)
        cron.put_run(db, run(number, "other", ended=number))
    cron.trim(db, ["j"], before=3, keep=4, limit=100)
    assert [one.slot for one in cron.page(db, {"job": "j"}, {}, None, False, 50, 0)[0]] == [7, 8, 9, 10]
    assert [one.slot for one in cron.page(db, {"job": "other"}, {}, None, False, 50, 0)[0]] == [*range(3, 11)]
    assert [one.run for one in cron.open_runs(db)] == ["j:0"]
    assert db.execute("SELECT min(slot), count(*) FROM cron_slots").fetchone() == (7, 4)


def test_words_wait_for_one_run_and_are_told_again_to_that_one_alone(db):
    for text in ("a", "b"):
        cron.add_words(db, "s", text, 1)
    cron.add_words(db, "other", "c", 1)
    cron.hand_words(db, "s", "run-1")
    cron.hand_words(db, "s", "run-2")
    assert (cron.words_of(db, "run-1"), cron.words_of(db, "run-2")) == (["a", "b"], [])
    assert (cron.count_words(db, "s"), cron.count_words(db, "other")) == (0, 1)
    assert cron.forget_words(db, 2, 10) == 2


def test_calls_come_in_the_order_they_are_due(db):
    assert cron.next_call(db, 0) is None
    assert cron.due_call(db, 99, 999, [], []) is None
    for number, due in ((1, 30), (2, 10), (3, 20)):
        cron.put_call(db, CallRow(f"c{number}", "j", None, "http://x", "{}", 0, due))
    assert [cron.next_call(db, after) for after in (0, 10, 30)] == [10, 20, None]
    assert [call.id if (call := cron.due_call(db, until, 999, [], [])) else None for until in (9, 10, 99)] == [
        None,
        "c2",
        "c2",
    ]
    cron.drop_call(db, "c2")
    assert cron.next_call(db, 0) == 20


def test_a_call_is_found_beside_those_that_are_made_and_those_to_a_host_that_has_enough(db):
    places = ("http://x/a", "https://x/b?c=/d", "http://x:80/a", "http://y", "https://x")
    for number, url in enumerate(places):
        cron.put_call(db, CallRow(f"c{number}", "j", None, url, "{}", 0, number))
    found: list[str] = []
    origins: list[str] = []
    while (call := cron.due_call(db, 99, 999, ["c3"], origins)) is not None:
        found.append(call.id)
        origins.append(call.origin)
    assert (found, origins) == (["c0", "c1", "c2"], ["http://x", "https://x", "http://x:80"])
    assert (cron.count_calls_of(db, "j"), cron.count_calls_of(db, "k"), cron.count_calls(db)) == (5, 0, 5)
