"""Every cell of a run's life: state × event, named."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from gateway.protocol.run_states import RunState
from gateway.services.run_state import ENDED, HELD, TABLE, Event, State, next_state


def test_who_lists_runs_names_a_state_there_is():
    assert set(get_args(RunState)) == set(State)


# One row per state; one column per event, in the order of Event. "." means: nothing happens.
COLUMNS = """STARTED LEASED BLOCKED UNBLOCKED SUCCEEDED FAILED EXPIRED ABORTED LOST GIVEN_UP DELIVERED RETRIED"""
ORDER = COLUMNS.split()
CELLS = """
QUEUED      STARTING RUNNING .       .       .    FAILED .         ABORTED QUEUED .           DONE    .
STARTING    .        RUNNING .       .       .    FAILED .         ABORTED QUEUED .           DONE    .
RUNNING     .        .       WAITING .       DONE FAILED TIMED_OUT ABORTED QUEUED INTERRUPTED .        .
WAITING     .        .       .       RUNNING DONE FAILED TIMED_OUT ABORTED QUEUED INTERRUPTED .        .
DONE        .        .       .       .       .    .      .         .       .      .           .        .
FAILED      .        .       .       .       .    .      .         .       .      .           .        .
TIMED_OUT   .        .       .       .       .    .      .         .       .      .           .        .
ABORTED     .        .       .       .       .    .      .         .       .      .           .        .
INTERRUPTED .        .       .       .       .    .      .         .       .      .           .        QUEUED
"""
TABLE_TEST = [
    (line.split()[0], event, cell)
    for line in CELLS.strip().splitlines()
    for event, cell in zip(ORDER, line.split()[1:], strict=True)
]


def test_the_test_names_every_cell():
    assert [Event[name] for name in ORDER] == list(Event)
    assert {(state, event) for state, event, _ in TABLE_TEST} == {(s.name, e.name) for s in State for e in Event}


@pytest.mark.parametrize(("state", "event", "then"), TABLE_TEST)
def test_a_cell(state: str, event: str, then: str):
    assert next_state(State[state], Event[event]) == (None if then == "." else State[then])


def test_what_has_ended_stays_ended_and_only_held_runs_have_a_worker():
    assert {state.name for state in ENDED} == {"DONE", "FAILED", "TIMED_OUT", "ABORTED", "INTERRUPTED"}
    assert {state.name for state in HELD} == {"RUNNING", "WAITING"}
    assert TABLE.keys() == set(State)


def test_the_page_about_runs_shows_this_table():
    page = (Path(__file__).resolve().parents[3] / "docs" / "runs.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page if line.startswith("|")]
    states = next(row[1:-1] for row in rows if row[0] == "event")
    shown = {row[0]: row[1:-1] for row in rows if row[0] in list(Event) and len(row) == len(states) + 2}
    assert set(states) == {state for state in State if TABLE[state]}
    assert shown == {event: [next_state(state, event) or "·" for state in states] for event in Event}
