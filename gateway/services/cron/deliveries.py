"""What is told of a run, in the transaction that notes its end: announcements are accepted by sessions, calls to
addresses outside are written down to be made.

Owns what becomes of a job's own delivery in the line of the log."""

from __future__ import annotations

import sqlite3

from msgspec.structs import replace

from gateway.config.settings import Settings
from gateway.protocol.cron import FailureAlert, Job, RunEntry
from gateway.protocol.errors import Refusal
from gateway.protocol.keys import main_key
from gateway.services.admission import accept_all
from gateway.services.changes import Change
from gateway.services.cron.job import agent_of
from gateway.services.cron.message import Parcel, parcels, suppressed
from gateway.services.work import ChildLimit, NewMessage
from gateway.store import cron, sessions
from gateway.store.cron import CallRow

MAX_WORDS_WAITING = 1000
"""Of one session; the next is refused."""


def tell_owner(db: sqlite3.Connection, job: Job, why: str, settings: Settings, now: int) -> None:
    """A job that was switched off: whoever made it hears so with its next run."""
    session = job.session_key or main_key(agent_of(job, settings.default_agent))
    if cron.count_words(db, session) < MAX_WORDS_WAITING:
        words = (
            f"Cron job {job.name} ({job.id}) was switched off: {why}. To switch it on: peergate cron enable {job.id}"
        )
        cron.add_words(db, session, words, now)


def send(
    db: sqlite3.Connection, job: Job, entry: RunEntry, text: str | None, alert: FailureAlert | None,
    settings: Settings, now: int,
) -> tuple[RunEntry, list[Change]]:  # fmt: skip
    """Send what there is to tell on its way; the line of the log says what became of the job's own delivery."""
    mode = job.delivery.mode if job.delivery is not None else "none"
    status = "not-requested" if mode == "none" else "not-delivered"
    why = suppressed(entry, text) if mode == "announce" else None
    entry = replace(entry, delivery_status=status, delivery_suppression_reason=why)
    changes: list[Change] = []
    main = main_key(agent_of(job, settings.default_agent))
    for number, parcel in enumerate(parcels(job, entry, text, alert, main)):
        name = f"{entry.run_id}:told:{number}"
        if parcel.address:
            settles = entry.run_id if parcel.settles else None
            cron.put_call(db, CallRow(name, job.id, settles, parcel.to, parcel.text, 0, now))
            entry = replace(entry, delivery_status="unknown") if parcel.settles else entry
            continue
        error, more = _announce(db, parcel, name, settings, now)
        changes += more
        if parcel.settles:
            delivered = error is None
            status = "delivered" if delivered else "not-delivered"
            entry = replace(entry, delivered=delivered, delivery_status=status, delivery_error=error)
            if error is not None and not (job.delivery and job.delivery.best_effort):
                entry = replace(entry, status="error", error=f"not delivered: {error}", completion_status="unknown")
    return entry, changes


def _announce(
    db: sqlite3.Connection, parcel: Parcel, run_id: str, settings: Settings, now: int
) -> tuple[str | None, list[Change]]:
    """A message to a session; why it was not taken, or None."""
    agent = parcel.to.split(":")[1]
    if agent not in settings.agents.entries:
        return f"the agent {agent} is not configured any more (agents.entries)", []
    session = sessions.get(db, parcel.to)
    lane = "subagent" if session is not None and session.spawn_depth else "main"
    message = NewMessage(
        run_id=run_id, session_key=parcel.to, text=parcel.text, provenance=parcel.provenance, lane=lane,
        kind="inter_session", sender=f"cron:{parcel.provenance.get('jobId', '')}", steer=True,
    )  # fmt: skip
    (outcome,) = accept_all(db, [(message, float(now))])
    if isinstance(outcome, Refusal | ChildLimit):
        return str(outcome), []
    return None, outcome.changes
