"""The transactions of cron: a slot is obeyed, a run's end is noted, a call is settled.

Owns exactly-once: a slot, the message that is its run, and what is to come are written together or not at all; so are
the end of a run, its line of the log, what is told of it, and the job's state. A step reads what it changes; what was
decided about an older state of a job is not done (`stale`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from gateway.config.settings import Settings
from gateway.protocol.cron import Job, RunEntry
from gateway.protocol.errors import Refusal
from gateway.schedules.job import offset_of
from gateway.services.admission import accept_all
from gateway.services.changes import Change
from gateway.services.cron.book import Kept, kept_of, row_of, told
from gateway.services.cron.deliveries import MAX_WORDS_WAITING, arrived, deliver, tell_failure, tell_owner, with_fate
from gateway.services.cron.message import (
    Occasion,
    alerts_of,
    message_of,
    run_id_of,
    session_of,
    waits_for_company,
)
from gateway.services.cron.misfire import Decision
from gateway.services.cron.outcome import Result, Settled, reason_of, settle, settle_delivery, with_state
from gateway.services.cron.overlap import Verdict
from gateway.services.idempotency import keep
from gateway.services.run_state import State
from gateway.services.work import ChildLimit, NewMessage, Record
from gateway.store import cron, records, runs, sessions
from gateway.store.cron import CallRow, RunRow
from gateway.store.runs import RunRecord
from supervisor.crashpoints import crashpoint

MAX_SUMMARY_CHARS = 2000
_ERRORS = {State.TIMED_OUT: "timeout", State.ABORTED: None, State.INTERRUPTED: None}


class Firing(msgspec.Struct, frozen=True):
    """Something to be done for a job: what was decided about a slot (`decision`), or a run somebody asked for, whose
    answer is kept with it (`record`)."""

    kept: Kept
    version: int
    now: int
    settings: Settings
    decision: Decision | None = None
    record: Record | None = None

    @property
    def occasion(self) -> Occasion:
        if self.decision is None:
            return Occasion(self.now, 1, scheduled=False)
        return Occasion(self.decision.slot, self.decision.attempt)


class Done(msgspec.Struct):
    """What a step did. `kept`: the job as it is now, None when it is gone or nothing was done. `entry`: the line of the
    log that was written; `started`: the run that goes on. `settled` says what its end meant. `stale`: nothing was done,
    because the job has changed, or because the call was answered before (`answered`)."""

    kept: Kept | None = None
    version: int = 0
    stale: bool = False
    answered: bool = False
    gone: str | None = None
    started: str | None = None
    entry: RunEntry | None = None
    settled: Settled | None = None
    changes: list[Change] = msgspec.field(default_factory=list)


def fire_all(db: sqlite3.Connection, items: Sequence[Firing]) -> list[Done]:
    """Obey slots, each as if it came alone; messages are accepted together."""
    crashpoint("gateway.cron.fire.before")
    done: list[Done] = []
    to_accept: list[tuple[int, NewMessage]] = []
    seen: set[str] = set()
    for item in items:
        job_id, record = item.kept.job.id, item.record
        if record is not None and records.recall(db, record.scope, record.key) is not None:
            done.append(Done(stale=True, answered=True))
            continue
        if job_id in seen or cron.version_of(db, job_id) != item.version:
            done.append(Done(stale=True))
            continue
        seen.add(job_id)
        at_once = _begin(db, item)
        done.append(at_once or Done())
        if at_once is None:
            to_accept.append((len(done) - 1, message_of(item.kept.job, item.occasion, item.settings)))
    accepted = accept_all(db, [(message, float(items[index].now)) for index, message in to_accept])
    for (index, message), outcome in zip(to_accept, accepted, strict=True):
        item = items[index]
        if isinstance(outcome, Refusal | ChildLimit):
            done[index] = _refused(db, item, outcome)
        else:
            done[index] = _started(db, item, message)
            done[index].changes = outcome.changes
    for item, fate in zip(items, done, strict=True):
        if not fate.stale:
            keep(db, item.record, item.now)
    crashpoint("gateway.cron.fire.after")
    return done


def _begin(db: sqlite3.Connection, item: Firing) -> Done | None:
    """The slot is taken. What needs no run is done at once; None for what does."""
    decision, kept, now = item.decision, item.kept, item.now
    if decision is not None and decision.attempt == 1 and not cron.take_slot(db, kept.job.id, decision.slot):
        return _write(db, replace(kept, plan=decision.plan), item.version)  # it was obeyed before: time goes on
    if decision is not None and decision.verdict is Verdict.SKIP:
        return _ended_at_once(db, item, "skipped", decision.why)
    if not waits_for_company(kept.job):
        return None
    session = session_of(kept.job, item.occasion, item.settings.default_agent)
    if cron.count_words(db, session) >= MAX_WORDS_WAITING:
        return _ended_at_once(db, item, "error", f"{MAX_WORDS_WAITING} events wait for the session {session} already")
    cron.add_words(db, session, getattr(kept.job.payload, "text", ""), now)
    return _ended_at_once(db, item, "ok", None)


def _ended_at_once(db: sqlite3.Connection, item: Firing, status: str, error: str | None) -> Done:
    decision = item.decision
    kept = item.kept if decision is None else replace(item.kept, plan=decision.plan)
    entry = _entry(item, status=status, error=error, run_at_ms=item.now, duration_ms=0)
    return _settle(db, kept, item.version, entry, None, item.settings, item.now)


def _refused(db: sqlite3.Connection, item: Firing, why: Refusal | ChildLimit) -> Done:
    return _ended_at_once(db, item, "error", str(why))


def _started(db: sqlite3.Connection, item: Firing, message: NewMessage) -> Done:
    job, now = item.kept.job, item.now
    entry = _entry(item, run_at_ms=now, session_key=message.session_key)
    cron.put_run(db, _row(entry, None))
    plan = item.decision.plan if item.decision is not None else item.kept.plan
    kept = replace(item.kept, job=replace(job, state=replace(job.state, running_at_ms=now)), plan=plan)
    done = _write(db, kept, item.version)
    done.started, done.entry = message.run_id, entry
    return done


def _entry(item: Firing, **fields: object) -> RunEntry:
    job, occasion, decision = item.kept.job, item.occasion, item.decision
    entry = RunEntry(
        ts=item.now, job_id=job.id, slot_ms=occasion.slot, job_name=job.name, run_id=run_id_of(job, occasion),
        attempt=occasion.attempt, trigger="schedule" if occasion.scheduled else "manual",
        missed=decision.missed if decision is not None else 0,
    )  # fmt: skip
    return replace(entry, **fields)


def _row(entry: RunEntry, ended_at: int | None) -> RunRow:
    scheduled = int(entry.trigger == "schedule")
    return RunRow(
        entry.run_id or "", entry.job_id, entry.slot_ms, entry.attempt, scheduled, entry.session_key, entry.status,
        entry.delivery_status, ended_at, msgspec.json.encode(entry).decode(),
    )  # fmt: skip


def _write(db: sqlite3.Connection, kept: Kept, version: int) -> Done:
    kept = told(kept, offset_of(kept.job))
    cron.put_job(db, row_of(kept, version + 1))
    return Done(kept, version + 1)


# --- the end of a run -------------------------------------------------------------------------------------------------


def note_end(db: sqlite3.Connection, run_id: str, settings: Settings, now: int) -> Done | None:
    """Note that a run of a job has ended; None when that is noted, or it goes on."""
    crashpoint("gateway.cron.end.before")
    row, run = cron.get_run(db, run_id), runs.get(db, run_id)
    if row is None or row.ended_at is not None or (run is not None and run.ended_at is None):
        return None
    entry, again = _as_it_ended(db, msgspec.json.decode(row.entry, type=RunEntry), run, now)
    found = _job(db, row.job)
    if found is None:  # what it came to is kept, and told to nobody
        cron.put_run(db, _row(replace(entry, delivery_status="not-requested"), now))
        return Done(gone=row.job, entry=entry)
    kept, version = found
    text = run.text if run is not None else None
    done = _settle(db, kept, version, entry, text, settings, now, again=again)
    crashpoint("gateway.cron.end.after")
    return done


def _job(db: sqlite3.Connection, job_id: str) -> tuple[Kept, int] | None:
    """A job as it is now, and its version; None for one that was removed meanwhile, or that is damaged."""
    row = cron.get_job(db, job_id)
    try:
        return None if row is None else (kept_of(row), row.version)
    except msgspec.DecodeError:  # told of when the jobs were read
        return None


def _as_it_ended(
    db: sqlite3.Connection, entry: RunEntry, run: RunRecord | None, now: int
) -> tuple[RunEntry, bool]:  # fmt: skip
    """The line of the log, and whether the run may be tried again."""
    if run is None:
        return replace(entry, ts=now, status="error", error="its run is gone from the database"), False
    session = sessions.get(db, run.session)
    ended, began = round(run.ended_at or now), round(run.started_at or run.created_at)
    state = State(run.state)
    error = None if state == State.DONE else run.error or str(state)
    entry = replace(
        entry, ts=max(ended, entry.ts), status="ok" if state == State.DONE else "error", error=error, run_at_ms=began,
        duration_ms=max(0, ended - began), summary=run.text[:MAX_SUMMARY_CHARS] if run.text else None,
        session_id=session.session_id if session else None,
        error_reason=None if error is None else _ERRORS.get(state, reason_of(error)),
    )  # fmt: skip
    return entry, state in (State.FAILED, State.TIMED_OUT)


def _settle(
    db: sqlite3.Connection, kept: Kept, version: int, entry: RunEntry, text: str | None, settings: Settings, now: int,
    *, again: bool = True,
) -> Done:  # fmt: skip
    """Write what the end of a run means: log, state, what is told. Whether it ended well is known when its result has
    been taken."""
    entry = replace(entry, error_reason=entry.error_reason or reason_of(entry.error))
    entry = replace(entry, completion_status="succeeded" if entry.status == "ok" else "failed")
    ended_well = entry.status == "ok"
    entry, changes = deliver(db, kept.job, entry, text, settings, now)
    again = again and not (ended_well and entry.status == "error")  # to run it again would not deliver what it came to
    result = _result(kept.job, entry, now, again=again)
    settled = settle(kept.job, kept.plan, result, offset_of(kept.job), alerts_of(kept.job, settings))
    if not _still_runs(db, kept.job, entry):
        settled = with_state(settled, replace(settled.job.state, running_at_ms=None))
    changes += _tell_failure(db, entry, settled, settings, now)
    return _close(db, kept, version, entry, settled, changes, settings, now, now)


def _still_runs(db: sqlite3.Connection, job: Job, entry: RunEntry) -> bool:
    """Whether a job that has just done something else, or ended another run, goes on with a run."""
    running = job.state.running_at_ms is not None
    return running and cron.has_other_open_run(db, job.id, entry.run_id or "")


def _tell_failure(
    db: sqlite3.Connection, entry: RunEntry, settled: Settled, settings: Settings, now: int
) -> list[Change]:
    alert = alerts_of(settled.job, settings) if settled.alert else None
    return tell_failure(db, settled.job, entry, alert, settings, now)


def _result(job: Job, entry: RunEntry, now: int, *, again: bool) -> Result:
    best_effort = job.delivery is not None and bool(job.delivery.best_effort)
    return Result(
        entry.status or "error", entry.slot_ms, entry.attempt, entry.run_at_ms or now, now, entry.error,
        entry.error_reason, entry.trigger == "schedule", again,
        on_its_way=entry.delivery_status == "unknown" and not best_effort,
    )  # fmt: skip


def _close(
    db: sqlite3.Connection, kept: Kept, version: int, entry: RunEntry, settled: Settled, changes: list[Change],
    settings: Settings, now: int, ended_at: int,
) -> Done:  # fmt: skip
    """Write a job as its run has left it, and the line of the log; tell its maker when it was switched off."""
    job = settled.job
    state = replace(
        job.state, last_delivered=entry.delivered, last_delivery_status=entry.delivery_status,
        last_delivery_error=entry.delivery_error, delivery_suppression_reason=entry.delivery_suppression_reason,
    )  # fmt: skip
    kept = told(replace(kept, job=replace(job, state=state), plan=settled.plan), offset_of(job))
    entry = replace(entry, next_run_at_ms=None if settled.gone else kept.job.state.next_run_at_ms)
    cron.put_run(db, _row(entry, max(ended_at, 0)))
    if settled.disabled is not None:
        tell_owner(db, job, settled.disabled, settings, now)
    if settled.gone:
        cron.remove_job(db, job.id)
        return Done(gone=job.id, entry=entry, settled=settled, changes=changes)
    done = _write(db, kept, version)
    done.entry, done.settled, done.changes = entry, settled, changes
    return done


# --- calls ------------------------------------------------------------------------------------------------------------


def note_call(db: sqlite3.Connection, call: CallRow, error: str | None, settings: Settings, now: int) -> Done | None:
    """A call was made (`error` None), or given up. Where it is the delivery of a run, that is noted there, and a run
    whose result nobody took has failed after all; None where it is not."""
    crashpoint("gateway.cron.call.before")
    cron.drop_call(db, call.id)
    row = cron.get_run(db, call.settles) if call.settles else None
    if row is None:
        return None
    entry, found = msgspec.json.decode(row.entry, type=RunEntry), _job(db, row.job)
    if found is None:
        entry = with_fate(entry, error)
        cron.put_run(db, _row(entry, row.ended_at))
        return Done(gone=row.job, entry=entry)
    kept, version = found
    ended_well = entry.status == "ok"
    entry = arrived(kept.job, entry, error)
    settled, changes = Settled(kept.job, kept.plan), []
    if ended_well:  # of another one's failing was told when it ended
        result = _result(kept.job, entry, now, again=False)
        settled = settle_delivery(kept.job, kept.plan, result, offset_of(kept.job), alerts_of(kept.job, settings))
        changes = _tell_failure(db, entry, settled, settings, now)
    done = _close(db, kept, version, entry, settled, changes, settings, now, row.ended_at or now)
    crashpoint("gateway.cron.call.after")
    return done
