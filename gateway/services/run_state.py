"""The life of a run as a table: state × event → next state. Pure.

Owns which events mean something when. None: the event means nothing in that state, and whoever brought it changes
nothing."""

from __future__ import annotations

import enum


class State(enum.StrEnum):
    """Where a run is."""

    QUEUED = "queued"
    """Accepted, waiting for a slot, its session or its agent; or for the turn it was steered into."""
    STARTING = "starting"
    """Has a slot; its worker is being started or finishes something else."""
    RUNNING = "running"
    """A worker has it."""
    WAITING = "waiting"
    """A worker has it, and one of its tool calls waits: others may use its slot."""
    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    ABORTED = "aborted"
    INTERRUPTED = "interrupted"
    """Its worker died and it must not, or not again, be tried: its message is parked and an operator decides."""


class Event(enum.StrEnum):
    """What can happen to a run."""

    STARTED = "started"
    """The lanes gave it a slot."""
    LEASED = "leased"
    """A worker takes it: a new attempt."""
    BLOCKED = "blocked"
    """A tool call of its began to wait."""
    UNBLOCKED = "unblocked"
    """No tool call of its waits any more."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The turn failed, or could not be started."""
    EXPIRED = "expired"
    """Its deadline passed."""
    ABORTED = "aborted"
    LOST = "lost"
    """Its worker is gone; another attempt is allowed."""
    GIVEN_UP = "given up"
    """Its worker is gone; no other attempt is allowed."""
    DELIVERED = "delivered"
    """Its message reached somebody another way: steered into a turn, or fetched."""
    RETRIED = "retried"
    """An operator lets a parked message be tried again."""


_HELD = {
    Event.SUCCEEDED: State.DONE,
    Event.FAILED: State.FAILED,
    Event.EXPIRED: State.TIMED_OUT,
    Event.ABORTED: State.ABORTED,
    Event.LOST: State.QUEUED,
    Event.GIVEN_UP: State.INTERRUPTED,
}
_UNHELD = {
    Event.LEASED: State.RUNNING,  # from queued too: a gateway that died did not always get to write "starting"
    Event.FAILED: State.FAILED,
    Event.ABORTED: State.ABORTED,
    Event.LOST: State.QUEUED,
    Event.DELIVERED: State.DONE,
}
TABLE: dict[State, dict[Event, State]] = {
    State.QUEUED: {**_UNHELD, Event.STARTED: State.STARTING},
    State.STARTING: _UNHELD,
    State.RUNNING: {**_HELD, Event.BLOCKED: State.WAITING},
    State.WAITING: {**_HELD, Event.UNBLOCKED: State.RUNNING},
    State.DONE: {},
    State.FAILED: {},
    State.TIMED_OUT: {},
    State.ABORTED: {},
    State.INTERRUPTED: {Event.RETRIED: State.QUEUED},
}
ENDED = frozenset({State.DONE, State.FAILED, State.TIMED_OUT, State.ABORTED, State.INTERRUPTED})
"""States in which nothing more happens by itself."""
HELD = frozenset({State.RUNNING, State.WAITING})
"""States in which a worker has the run."""


def next_state(state: str, event: Event) -> State | None:
    """The state after `event`, or None when it means nothing in `state`."""
    return TABLE[State(state)].get(event)
