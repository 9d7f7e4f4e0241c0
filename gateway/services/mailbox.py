"""Messages nobody is through with, for an operator: see them, let a parked one be tried again, drop it.

Owns what trying again means: the same run goes on waiting with as many more attempts as a new one has, so what it did
before (its recorded tool calls) is not done twice; its parent, which was told that it failed, is told again; and it is
told of the children that were ended with it."""

from __future__ import annotations

import sqlite3
from typing import Any

from gateway.protocol.errors import Refusal, invalid, unavailable
from gateway.services.admission import owner_of
from gateway.services.announce import announce_id
from gateway.services.changes import Change, Outcome, Queued, SessionChanged
from gateway.services.endings import MAX_ATTEMPTS, announce_late, clean_up, deliver, note_read
from gateway.services.engine import Engine
from gateway.services.run_state import Event, next_state
from gateway.store import mailbox, records, runs, sessions, tool_calls
from gateway.store.mailbox import MailRecord
from gateway.store.runs import RunRecord
from gateway.store.tool_calls import CallRecord

MAX_LISTED = 1000
PREVIEW_CHARS = 200
MAX_SHOWN_CALLS = 100


def find(db: sqlite3.Connection, name: str) -> MailRecord | None:
    """A message by its number or its run's id."""
    mail = mailbox.get(db, int(name)) if name.isascii() and name.isdecimal() and len(name) < 19 else None
    return mail or mailbox.of_run(db, name)


def retry(db: sqlite3.Connection, name: str, now: float) -> Outcome[MailRecord]:
    """Let a parked message be tried again; one that is being tried changes nothing, for the call may be sent twice.
    Raises Refusal."""
    mail, run = _known(db, name)
    if mail.state in (mailbox.NEW, mailbox.TAKEN):
        return Outcome(mail)
    _check_parked(mail, run)
    state = next_state(run.state, Event.RETRIED)
    if state is None or sessions.get(db, run.session) is None:
        raise invalid(f"the message {mail.id} cannot be tried again: its session {run.session} is gone; drop it")
    changes = _take_back(db, run, now)
    run = runs.reopen(db, run, state, MAX_ATTEMPTS)
    mailbox.mark(db, run.id, mailbox.NEW)
    records.unstop_agent(db, run.agent)
    sessions.update(db, run.session, status="queued", updated_at=now)
    changes += [Queued(run, owner_of(db, run), created=True), SessionChanged(run.session, "send")]
    changes += announce_late(db, run.id, now)
    return Outcome(mail, changes)


def drop(db: sqlite3.Connection, name: str) -> Outcome[MailRecord]:
    """Decide that a parked message is not to be tried again; one that was dropped stays so. Raises Refusal."""
    mail, run = _known(db, name)
    if mail.state == mailbox.DROPPED:
        return Outcome(mail)
    _check_parked(mail, run)
    mailbox.mark(db, run.id, mailbox.DROPPED)
    return Outcome(mail, clean_up(db, run))


def _known(db: sqlite3.Connection, name: str) -> tuple[MailRecord, RunRecord]:
    mail = find(db, name)
    run = runs.get(db, mail.run) if mail else None
    if mail is None or run is None:
        raise _unknown(name)
    return mail, run


def _check_parked(mail: MailRecord, run: RunRecord) -> None:
    if mail.state != mailbox.DEAD:
        raise invalid(f"the message {mail.id} is not parked: its run {run.id} is {run.state}")


def _unknown(name: str) -> Refusal:
    return invalid(f'there is no message "{name[:128]}"; peergate mailbox lists those nobody is through with')


def _take_back(db: sqlite3.Connection, run: RunRecord, now: float) -> list[Change]:
    """The announcement that the run failed: withdrawn if nobody has heard it, and out of the way of the next one. One
    that a turn in progress was given counts as read."""
    told = runs.get(db, announce_id(run.id))
    if told is None:
        return []
    mail, changes = mailbox.of_run(db, told.id), []
    if told.ended_at is None and mail is not None and mail.state == mailbox.TAKEN:
        changes = note_read(db, told, mail, now)
    elif changes := deliver(db, told.id, "withdrawn", now):
        mailbox.mark(db, told.id, mailbox.CONSUMED)
    elif told.ended_at is None:
        raise unavailable("the parent is just being told that it failed; try again when that turn is over", 1000)
    runs.rename(db, told.id, f"{told.id}#{told.seq}")
    return changes


class Mailbox:
    """What rows and the command line use."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._database = engine.database

    def list(
        self, *, name: str | None = None, state: str | None = None, session: str | None = None, after: int = 0,
        limit: int = 100,
    ) -> dict[str, Any]:  # fmt: skip
        """Messages nobody is through with, oldest first, texts cut; with `name` that one alone, whole, with its
        actions. Raises Refusal."""
        size = max(1, min(limit, MAX_LISTED))

        def read(db: sqlite3.Connection) -> dict[str, Any]:
            if name is None:
                rows = [_row(db, mail) for mail in mailbox.still_open(db, state, session, after, size)]
            elif mail := find(db, name):
                rows = [_row(db, mail) | _details(db, mail)]
            else:
                raise _unknown(name)
            return {"messages": rows, "parked": mailbox.count_dead(db)}

        return self._database.read(read)

    async def retry(self, name: str) -> dict[str, Any]:
        """Try a parked message again."""
        now = self._engine.clock()
        return self._as_it_is(await self._engine.commit(lambda db: retry(db, name, now)))

    async def drop(self, name: str) -> dict[str, Any]:
        """Give a parked message up."""
        return self._as_it_is(await self._engine.commit(lambda db: drop(db, name)))

    def _as_it_is(self, mail: MailRecord) -> dict[str, Any]:
        return self._database.read(lambda db: _row(db, mailbox.get(db, mail.id) or mail))


def _row(db: sqlite3.Connection, mail: MailRecord) -> dict[str, Any]:
    """A message and how its run stands, the text cut."""
    text = mail.text if len(mail.text) <= PREVIEW_CHARS else f"{mail.text[:PREVIEW_CHARS]}…"
    row: dict[str, Any] = {
        "id": mail.id, "runId": mail.run, "sessionKey": mail.session, "state": mail.state, "takenBy": mail.taken_by,
        "text": text, "createdAt": round(mail.created_at),
    }  # fmt: skip
    if (run := runs.get(db, mail.run)) is not None:
        row |= {"agentId": run.agent, "kind": run.kind, "sender": run.sender, "attempts": run.attempt}
        row |= {"runState": run.state, "error": run.error}
    return {name: value for name, value in row.items() if value is not None}


def _details(db: sqlite3.Connection, mail: MailRecord) -> dict[str, Any]:
    calls = tool_calls.of_run(db, mail.run, MAX_SHOWN_CALLS)
    return {"text": mail.text, "provenance": mail.provenance, "actions": [_action(call) for call in calls]}


def _action(call: CallRecord) -> dict[str, Any]:
    shown = {"name": call.name, "effect": call.effect, "state": call.state, "attempt": call.attempt}
    return {**shown, "startedAt": round(call.started_at), "result": call.result}
