"""How a run ends, in one transaction: its row, the transcript, the session, the parent's announcement, the messages it
was steered, its own message (done, or parked for an operator).

Owns exactly-once: a run that has ended does not end again, and its announcement has a key made from its id. Also owns
the cascade: what ends badly takes its unfinished children along."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

import msgspec

from gateway.config.settings import Settings
from gateway.services import announce, pingpong
from gateway.services.admission import owner_of, place
from gateway.services.changes import Change, Ended, Outcome, Queued, Said, SessionChanged
from gateway.services.lanes import lane_of
from gateway.services.run_state import HELD, Event, State, next_state
from gateway.store import mailbox, runs, sessions, tool_calls
from gateway.store.mailbox import MailRecord
from gateway.store.runs import RunRecord
from supervisor.crashpoints import crashpoint

_SESSION_STATUS = {
    State.DONE: "done",
    State.FAILED: "failed",
    State.TIMED_OUT: "timeout",
    State.ABORTED: "killed",
    State.INTERRUPTED: "failed",
}


MAX_ATTEMPTS = 3
"""A run whose worker died is tried so often in all; then it is interrupted."""


class Loss(msgspec.Struct, frozen=True):
    """How a run lost its worker. `repeatable`: its turn may be run again. `over_limit`: it used more than it may, so
    the turn has failed. `blameless`: somebody stopped the worker, so it does not count as one of the attempts."""

    why: str
    repeatable: bool
    over_limit: bool = False
    blameless: bool = False


def is_repeatable(agent: str, settings: Settings) -> bool:
    """Whether a turn of this agent may be run again: python turns replay what they did, command turns only if they say
    so."""
    runtime = getattr(settings.agents.entries.get(agent), "runtime", None)
    return type(runtime).__name__ == "PythonRuntime" or bool(getattr(runtime, "retry_safe", False))


class Ending(msgspec.Struct, frozen=True):
    """How one run ends. `unread` are mail ids its turn did not take; None: nobody knows, so all of them count as
    unread. `quiet`: whoever would hear the announcement is being ended too. `cascade`: whether its
    children end with it, unless it is done."""

    event: Event
    text: str | None = None
    error: str | None = None
    unread: Collection[int] | None = None
    quiet: bool = False
    cascade: bool = True
    by_worker: bool = False


def end(db: sqlite3.Connection, run_id: str, ending: Ending, now: float) -> list[Change]:
    """End a run. No changes when it is unknown, has ended, or the event means nothing in its state."""
    run = runs.get(db, run_id)
    state = next_state(run.state, ending.event) if run else None
    if run is None or state is None:
        return []
    changes = _settle_steered(db, run, ending, now)
    text = ending.text if ending.text is not None else partial_text(db, run) if state != State.DONE else None
    reason = None if state == State.DONE else str(state)
    mail = mailbox.of_run(db, run.id)
    parked = mail is not None and state == State.INTERRUPTED
    error = f"{ending.error}; its message is parked: peergate mailbox show {run.id}" if parked else ending.error
    run = runs.update(db, run.id, state=state, ended_at=now, steering=0, text=text, error=error, stop_reason=reason)
    mailbox.mark(db, run.id, mailbox.DEAD if parked else mailbox.DONE)
    tool_calls.leave_open(db, run.id, now)
    if text and (said := sessions.add_message(db, run.session, now, "assistant", text, run.id, None, reason)):
        changes.append(Said(said))
    sessions.update(db, run.session, status=_SESSION_STATUS[state], updated_at=now, last_run=run.id, last_error=error)
    changes.append(Ended(run, ending.by_worker))
    if not ending.quiet:
        changes += _announce(db, run, now)
    if state == State.DONE:
        changes += _go_on_talking(db, run, mail, now)
    elif ending.cascade:
        changes += _end_children(db, run, now)
    return [*changes, *clean_up(db, run), SessionChanged(run.session, "done" if state == State.DONE else "error")]


def end_unbegun(db: sqlite3.Connection, run_id: str, why: str, now: float) -> list[Change]:
    """Fail a run that could not be started. No changes when a worker has it: it took it before this was written."""
    run = runs.get(db, run_id)
    return [] if run is None or run.state in HELD else end(db, run_id, Ending(Event.FAILED, error=why), now)


def partial_text(db: sqlite3.Connection, run: RunRecord) -> str | None:
    """What a turn had said when it was cut short."""
    events = runs.stream_of(db, run.id, run.attempt, "assistant")
    return "".join(str(data.get("delta", "")) for data in events if isinstance(data, dict)) or None


def deliver(db: sqlite3.Connection, run_id: str, how: str, now: float) -> list[Change]:
    """End a run whose message reached somebody another way; `how` is its stop reason."""
    run = runs.get(db, run_id)
    if run is None or next_state(run.state, Event.DELIVERED) is None:
        return []
    run = runs.update(db, run_id, state=State.DONE, ended_at=now, stop_reason=how)
    return [Ended(run)]


def abort(
    db: sqlite3.Connection, roots: Collection[str], reason: str, now: float, *, above: str | None = None,
    below: str | None = None,
) -> Outcome[list[str]]:  # fmt: skip
    """End runs and everything that descends from them, also through children that have ended. The ids of what was
    ended. `above`: the run whose end is the reason; nobody is told of what ends with it. `below`: a session whose
    children are to end as well."""
    targets: dict[str, RunRecord] = {}
    asked = {*roots}
    stack = [*roots, *runs.unfinished_below_run(db, above), *runs.unfinished_below_session(db, below)]
    while stack:
        run = runs.get(db, stack.pop())
        if run is None or run.ended_at is not None or run.id in targets:
            continue
        targets[run.id] = run
        if run.kind == "task":  # whatever goes on in a child's session belongs to that child
            stack += [other.id for other in runs.unfinished_of_session(db, run.session)]
            stack += runs.unfinished_below_session(db, run.session)
        else:
            stack += runs.unfinished_below_run(db, run.id)
    sessions_hit = {run.session for run in targets.values()}
    changes: list[Change] = []
    # Queued ones first: else a message given to a turn that ends would come back as unread and be queued again.
    for run in sorted(targets.values(), key=lambda one: (one.state not in (State.QUEUED, State.STARTING), one.seq)):
        told = run.id in asked or (below is not None and run.parent_session == below)
        quiet = not told or run.parent_session in sessions_hit
        ending = Ending(Event.ABORTED, error=reason or "aborted", quiet=quiet, cascade=False)
        changes += end(db, run.id, ending, now)
    return Outcome(list(targets), changes)


def lose(db: sqlite3.Connection, run_id: str, spawn: str, loss: Loss, now: float) -> list[Change]:
    """The worker that had a run is gone: queue another attempt, or end the run with the true cause."""
    run = runs.get(db, run_id)
    if run is None or run.spawn != spawn or next_state(run.state, Event.LOST) is None:
        return []
    if loss.over_limit:
        return end(db, run.id, Ending(Event.FAILED, error=loss.why), now)
    unsure = tool_calls.open_unsafe(db, run.id)
    most = (run.attempts_allowed or MAX_ATTEMPTS) + int(loss.blameless)
    if loss.repeatable and unsure is None and run.attempt < most:
        run = runs.update(db, run.id, state=State.QUEUED, steering=0, spawn=None, attempts_allowed=most)
        return [Queued(run, owner_of(db, run))]
    if unsure is not None:
        error = f'{loss.why}; it had begun "{unsure}", which may have happened, so the turn is not repeated by itself'
    elif loss.repeatable:
        error = f"{loss.why}; that was attempt {run.attempt} of {most}"
    else:
        error = f"{loss.why}; a turn of this agent may have had effects and is not repeated by itself"
    return end(db, run.id, Ending(Event.GIVEN_UP, error=error), now)


def clean_up(db: sqlite3.Connection, run: RunRecord) -> list[Change]:
    """Remove a session that was to be removed with its run, once nothing goes on in it or below it and no message of it
    is parked. So too those above it: they may have waited for this run alone."""
    changes: list[Change] = []
    key: str | None = run.session
    seen: set[str | None] = {None}  # against a circle made by hand
    while key not in seen and (session := sessions.get(db, key or "")) is not None:
        seen.add(session.key)
        name, key = session.key, session.spawned_by
        if session.cleanup == "delete" and not mailbox.count_dead(db, name) and not sessions.is_at_work(db, name):
            sessions.delete(db, name)
            changes.append(SessionChanged(name, "delete"))
    return changes


def _settle_steered(db: sqlite3.Connection, run: RunRecord, ending: Ending, now: float) -> list[Change]:
    """The messages a turn was given while it ran: read ones are done with it, unread ones get a turn of their own."""
    changes: list[Change] = []
    for mail in mailbox.taken_by(db, run.id):
        own = runs.get(db, mail.run)
        if own is None or own.ended_at is not None:
            continue
        if ending.unread is None or mail.id in ending.unread:
            mailbox.mark(db, mail.run, mailbox.NEW)
            changes.append(Queued(own, owner_of(db, own)))
            continue
        changes += note_read(db, own, mail, now)
    return changes


def note_read(db: sqlite3.Connection, own: RunRecord, mail: MailRecord, now: float) -> list[Change]:
    """A turn is through with a message it was steered; `own` is the run that message would have had."""
    mailbox.mark(db, own.id, mailbox.DONE, mail.taken_by)
    changes: list[Change] = []
    # It may stand in the transcript since a turn of its own, which lost its worker.
    if own.attempt == 0 or not sessions.has_said(db, own.session, own.id):
        said = sessions.add_message(db, own.session, now, "user", mail.text, own.id, mail.provenance)
        changes += [Said(said)] if said else []
    return [*changes, *deliver(db, own.id, "steered", now)]


def announce_late(db: sqlite3.Connection, run_id: str, now: float) -> list[Change]:
    """Tell of the children that ended with a run that is to be tried again: nobody heard of them, and it will wait."""
    children = runs.quietly_aborted_of_run(db, run_id)
    return [change for child in children for change in _announce(db, child, now)]


def _announce(db: sqlite3.Connection, run: RunRecord, now: float) -> list[Change]:
    """Tell the parent, in the same transaction. A sub-agent's later turns (its own children's results) are told on as
    well."""
    session = sessions.get(db, run.session)
    parent = run.parent_session if run.announces else None
    if run.kind == "announce" and session is not None and session.spawned_by and run.text:
        parent = session.spawned_by
    target = sessions.get(db, parent) if parent else None
    if target is None or announce.is_silent(run) or runs.get(db, announce.announce_id(run.id)):
        return []
    crashpoint("gateway.announce.before")
    text, provenance = announce.announcement(run)
    told = runs.insert(
        db,
        id=announce.announce_id(run.id), session=target.key, agent=target.agent, kind="announce",
        lane=lane_of("subagent", target.spawn_depth) if target.spawn_depth else "main", state=State.QUEUED,
        sender=run.session, label=run.label, task_name=run.task_name, created_at=now,
    )  # fmt: skip
    sessions.update(db, target.key, updated_at=now)
    placed = place(db, told, target.spawned_by or target.key, text, provenance, now, steer=True)
    crashpoint("gateway.announce.after")
    return [placed]


def _go_on_talking(db: sqlite3.Connection, run: RunRecord, mail: MailRecord | None, now: float) -> list[Change]:
    """The reply to another agent's message, as a message to that agent, where turns are left."""
    following = pingpong.next_message(run.id, run.session, run.text, mail.provenance) if mail is not None else None
    target = sessions.get(db, following.session) if following else None
    if following is None or target is None:
        return []
    told = runs.insert(
        db, id=following.run_id, session=target.key, agent=target.agent, kind="inter_session",
        lane=f"nested:{target.key}", state=State.QUEUED, sender=run.session, created_at=now,
    )  # fmt: skip
    sessions.update(db, target.key, updated_at=now)
    return [place(db, told, owner_of(db, told), run.text or "", following.provenance, now, steer=False)]


def _end_children(db: sqlite3.Connection, run: RunRecord, now: float) -> list[Change]:
    return abort(db, (), f"its parent run {run.state}", now, above=run.id).changes
