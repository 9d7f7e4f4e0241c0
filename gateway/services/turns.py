"""The transactions of a turn in progress: lease, events, steer channel, state.

Owns the rule that only the worker that holds a run may speak for it: each step compares the run's spawn and attempt
first."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from gateway.config.settings import Settings
from gateway.protocol.calls.worker import Assignment, Mail
from gateway.protocol.limits import MAX_SAFE_INTEGER
from gateway.services.admission import owner_of
from gateway.services.changes import Change, Leased, Outcome, Said, SessionChanged, Steered
from gateway.services.overtime import timeout_of, warn_at
from gateway.services.run_state import HELD, Event, next_state
from gateway.store import cron, mailbox, runs, sessions
from gateway.store.mailbox import MailRecord
from gateway.store.runs import RunEvent, RunRecord

MAX_EVENTS_PER_RUN = 100_000
"""Events kept of one attempt; later ones are told to listeners and acknowledged, but not stored."""


class Holder(msgspec.Struct, frozen=True):
    """The worker process that speaks; the kernel and the spawn table said who it is."""

    spawn: str
    pid: int
    start: int


def held_by(db: sqlite3.Connection, run_id: str, spawn: str, attempt: int | None = None) -> RunRecord | None:
    """The run if this worker has it (in this attempt), else None."""
    run = runs.get(db, run_id)
    held = run is not None and run.spawn == spawn and run.state in HELD and attempt in (None, run.attempt)
    return run if held else None


def lease(
    db: sqlite3.Connection, run_id: str, holder: Holder, now: float, settings: Settings
) -> Outcome[Assignment | None]:
    """Give a run to a worker: a new attempt. None when it cannot be leased any more."""
    run = runs.get(db, run_id)
    state = next_state(run.state, Event.LEASED) if run else None
    if run is None or state is None:
        return Outcome(None)
    timeout = timeout_of(run.agent, run.timeout_s, settings)
    started = run.started_at or now
    run = runs.update(
        db, run_id,
        state=state, attempt=run.attempt + 1, spawn=holder.spawn, worker_pid=holder.pid, worker_start=holder.start,
        started_at=started, deadline_at=started + timeout * 1000 if timeout else None, steering=0,
    )  # fmt: skip
    changes: list[Change] = [Leased(run)]
    mail = mailbox.of_run(db, run_id)
    if run.attempt == 1:
        cron.hand_words(db, run.session, run.id)  # what waited for this session's next run
    if mail is not None and not (run.attempt > 1 and sessions.has_said(db, run.session, run.id)):
        # Also of a later attempt: a parked message that is tried again may find its session begun anew.
        said = sessions.add_message(db, run.session, now, "user", _words(db, mail), run.id, mail.provenance)
        changes += [Said(said)] if said else []
    # Not the error of the run before: what is told of the last run is about this one.
    sessions.update(db, run.session, status="running", updated_at=now, last_run=run.id, last_error=None)
    changes.append(SessionChanged(run.session, "run"))
    return Outcome(_assignment(db, run, resumed=False), changes)


def resume(db: sqlite3.Connection, run_id: str, spawn: str, attempt: int | None) -> Assignment | None:
    """What a worker that came back goes on with, or None when the run is not its any more."""
    run = held_by(db, run_id, spawn, attempt)
    return _assignment(db, run, resumed=attempt is not None) if run else None


def _assignment(db: sqlite3.Connection, run: RunRecord, *, resumed: bool) -> Assignment:
    mail = mailbox.of_run(db, run.id)
    assert mail is not None, f"the run {run.id} has no message"
    started, deadline = run.started_at, run.deadline_at
    return Assignment(
        run_id=run.id,
        attempt=run.attempt,
        message=_words(db, mail),
        provenance=mail.provenance,
        steered=tuple(Mail(one.id, one.text, one.provenance) for one in mailbox.taken_by(db, run.id)),
        state=sessions.get_state(db, run.session),
        deadline_ms=_told(deadline) if deadline is not None else None,
        warn_ms=_told(warn_at(started, deadline)) if started is not None and deadline is not None else None,
        resumed=resumed,
    )


def _words(db: sqlite3.Connection, mail: MailRecord) -> str:
    """A run's message, behind what waited for its session to have a run."""
    waited = [f"System: {text}" for text in cron.words_of(db, mail.run)]
    return "\n\n".join([*waited, mail.text])


def _told(at_ms: float) -> int:
    """A time as it travels; one that no client could hold is as good as never."""
    return min(round(at_ms), MAX_SAFE_INTEGER)


def emit(
    db: sqlite3.Connection, run_id: str, spawn: str, attempt: int, events: Sequence[RunEvent], now: float
) -> list[RunEvent] | None:
    """Write events; those that are new. None when the run is not this worker's any more."""
    if held_by(db, run_id, spawn, attempt) is None:
        return None
    kept = [one for one in events if one.seq <= MAX_EVENTS_PER_RUN]
    return [*runs.add_events(db, run_id, attempt, now, kept), *events[len(kept) :]]


def steering(db: sqlite3.Connection, run_id: str, spawn: str, *, open: bool) -> Outcome[bool]:
    """Open or close a turn's steer channel. Opening gives it the announcements that wait for its session. False: not
    its run."""
    run = held_by(db, run_id, spawn)
    if run is None:
        return Outcome(False)
    run = runs.update(db, run_id, steering=int(open))
    changes: list[Change] = []
    for waiting in runs.unfinished_of_session(db, run.session) if open else ():
        mail = mailbox.of_run(db, waiting.id)
        if waiting.kind == "announce" and waiting.state not in HELD and mail is not None and mail.taken_by is None:
            mailbox.mark(db, waiting.id, mailbox.TAKEN, run.id)
            changes.append(Steered(waiting, owner_of(db, waiting), run, mail))
    return Outcome(True, changes)


def keep_state(db: sqlite3.Connection, run_id: str, spawn: str, packed: str, now: float) -> bool:
    """Replace the session's state. False: the run is not this worker's any more."""
    run = held_by(db, run_id, spawn)
    if run is not None:
        sessions.set_state(db, run.session, packed, now)
    return run is not None


def note_state(db: sqlite3.Connection, run_id: str, event: Event) -> None:
    """Follow memory for those who list runs: starting, waiting, running again. Nothing when the run has moved on
    since."""
    run = runs.get(db, run_id)
    state = next_state(run.state, event) if run else None
    if state is not None:
        runs.update(db, run_id, state=state)
