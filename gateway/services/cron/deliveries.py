"""What is told of a run, in the transaction that notes its end: announcements are accepted by sessions, calls to
addresses outside are written down to be made.

Owns what becomes of a job's own delivery in the line of the log, and how many calls may wait to be made."""

from __future__ import annotations

import logging
import sqlite3

from msgspec.structs import replace

from gateway.config.settings import Settings
from gateway.protocol.cron import FailureAlert, Job, RunEntry
from gateway.protocol.errors import Refusal
from gateway.protocol.keys import main_key, parse_key
from gateway.schedules.job import agent_of
from gateway.services.admission import accept_all
from gateway.services.changes import Change
from gateway.services.cron.message import Parcel, completion_parcel, failure_parcels, result_parcel, suppressed
from gateway.services.cron.outcome import reason_of
from gateway.services.work import ChildLimit, NewMessage
from gateway.store import cron, sessions
from gateway.store.cron import CallRow

log = logging.getLogger("gateway.cron")

MAX_WORDS_WAITING = 1000
"""Of one session; the next is refused."""
MAX_CALLS_WAITING, MAX_CALLS_WAITING_OF_A_JOB = 10_000, 20
"""The next is not made, and the delivery it was for has failed."""


def tell_owner(db: sqlite3.Connection, job: Job, why: str, settings: Settings, now: int) -> None:
    """A job that was switched off: whoever made it hears so with its next run."""
    session = job.session_key or main_key(agent_of(job, settings.default_agent))
    if cron.count_words(db, session) < MAX_WORDS_WAITING:
        words = (
            f"Cron job {job.name} ({job.id}) was switched off: {why}. To switch it on: peergate cron enable {job.id}"
        )
        cron.add_words(db, session, words, now)


def deliver(
    db: sqlite3.Connection, job: Job, entry: RunEntry, text: str | None, settings: Settings, now: int
) -> tuple[RunEntry, list[Change]]:
    """Send what a run came to on its way. The line of the log says what became of that: `unknown` while a call is to be
    made; a run whose result nobody took has failed, unless the job says that this does not matter."""
    mode = job.delivery.mode if job.delivery is not None else "none"
    status = "not-requested" if mode == "none" else "not-delivered"
    why = suppressed(entry, text) if mode == "announce" else None
    entry = replace(entry, delivery_status=status, delivery_suppression_reason=why)
    changes: list[Change] = []
    parcel = result_parcel(job, entry, text)
    if parcel is not None and parcel.address:
        error = _call(db, job, f"{entry.run_id}:told", parcel, now, settles=entry.run_id)
        entry = replace(entry, delivery_status="unknown") if error is None else arrived(job, entry, error)
    elif parcel is not None:
        error, changes = _announce(db, parcel, f"{entry.run_id}:told", settings, now)
        entry = arrived(job, entry, error)
    if (copy := completion_parcel(job, entry)) is not None:
        _call(db, job, f"{entry.run_id}:completed", copy, now)
    return entry, changes


def with_fate(entry: RunEntry, error: str | None) -> RunEntry:
    """The line of the log with what became of a delivery."""
    status = "delivered" if error is None else "not-delivered"
    return replace(entry, delivered=error is None, delivery_status=status, delivery_error=error)


def arrived(job: Job, entry: RunEntry, error: str | None) -> RunEntry:
    """The line of the log once a delivery is over, which may have failed the run; `error` says why it failed."""
    entry = with_fate(entry, error)
    if error is None or entry.status != "ok" or (job.delivery is not None and job.delivery.best_effort):
        return entry
    why = f"not delivered: {error}"
    return replace(entry, status="error", error=why, error_reason=reason_of(why), completion_status="unknown")


def tell_failure(
    db: sqlite3.Connection, job: Job, entry: RunEntry, alert: FailureAlert | None, settings: Settings, now: int
) -> list[Change]:
    """Tell those who want to know that a run has failed."""
    changes: list[Change] = []
    main = main_key(agent_of(job, settings.default_agent))
    for number, parcel in enumerate(failure_parcels(job, entry, alert, main)):
        name = f"{entry.run_id}:failed:{number}"
        if parcel.address:
            _call(db, job, name, parcel, now)
        else:
            changes += _announce(db, parcel, name, settings, now)[1]
    return changes


def _call(
    db: sqlite3.Connection, job: Job, name: str, parcel: Parcel, now: int, settles: str | None = None
) -> str | None:  # fmt: skip
    """Write a call down, to be made; why that was not done, or None."""
    if cron.count_calls(db) >= MAX_CALLS_WAITING:
        return _full(job, f"{MAX_CALLS_WAITING} calls wait already")
    if cron.count_calls_of(db, job.id) >= MAX_CALLS_WAITING_OF_A_JOB:
        return _full(job, f"{MAX_CALLS_WAITING_OF_A_JOB} calls of this job wait already")
    cron.put_call(db, CallRow(name, job.id, settles, parcel.to, parcel.text, 0, now, int(job.owner is None)))
    return None


def _full(job: Job, why: str) -> str:
    log.warning("a call is not made", extra={"job": job.id, "reason": why})
    return why


def _announce(
    db: sqlite3.Connection, parcel: Parcel, run_id: str, settings: Settings, now: int
) -> tuple[str | None, list[Change]]:
    """A message to a session; why it was not taken, or None."""
    key = parse_key(parcel.to)
    if key is None:
        return f'"{parcel.to[:128]}" is no session key', []
    if key.agent not in settings.agents.entries:
        return f"the agent {key.agent} is not configured any more (agents.entries)", []
    session = sessions.get(db, str(key))
    lane = "subagent" if session is not None and session.spawn_depth else "main"
    message = NewMessage(
        run_id=run_id, session_key=str(key), text=parcel.text, provenance=parcel.provenance, lane=lane,
        kind="inter_session", sender=f"cron:{parcel.provenance.get('jobId', '')}", steer=True,
    )  # fmt: skip
    (outcome,) = accept_all(db, [(message, float(now))])
    if isinstance(outcome, Refusal | ChildLimit):
        return str(outcome), []
    return None, outcome.changes
