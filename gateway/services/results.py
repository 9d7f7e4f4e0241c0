"""The transaction that hands children's results to a parent that asks for them, so that they are not announced any
more."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection

from gateway.services.announce import PREFIX, announce_id
from gateway.services.changes import Change, Outcome
from gateway.services.endings import clean_up, deliver
from gateway.services.idempotency import keep
from gateway.services.work import Record
from gateway.store import mailbox, runs
from gateway.store.runs import RunRecord

MakeRecord = Callable[[list[RunRecord]], Record | None]


def take(
    db: sqlite3.Connection, parent: str, run_ids: Collection[str] | None, make_record: MakeRecord, now: float
) -> Outcome[list[RunRecord]]:
    """Children of `parent` that have ended and whose results it has not taken yet: those named, or all whose
    announcement nobody has got. Their announcements are consumed.

    The answer is recorded in the same transaction, so that asking again with the same key gives the same results."""
    children = _named(db, parent, run_ids) if run_ids is not None else _unannounced(db, parent)
    changes: list[Change] = []
    for child in children:
        runs.update(db, child.id, taken_at=now)
        told = runs.get(db, announce_id(child.id))
        mail = mailbox.of_run(db, told.id) if told else None
        if told is None or mail is None or mail.state != mailbox.NEW:
            continue
        if delivered := deliver(db, told.id, "consumed", now):
            mailbox.mark(db, told.id, mailbox.CONSUMED)
            # The turn that asked may have ended meanwhile, and its session have waited for this alone.
            changes += [*delivered, *clean_up(db, told)]
    if children:
        keep(db, make_record(children), now)
    return Outcome(children, changes)


def _named(db: sqlite3.Connection, parent: str, run_ids: Collection[str]) -> list[RunRecord]:
    found = (runs.get(db, run_id) for run_id in run_ids)
    ended = (run for run in found if run and run.parent_session == parent and run.ended_at is not None)
    return [run for run in ended if run.taken_at is None]


def _unannounced(db: sqlite3.Connection, parent: str) -> list[RunRecord]:
    waiting = (run for run in runs.unfinished_of_session(db, parent) if run.kind == "announce")
    undelivered = (run for run in waiting if (mail := mailbox.of_run(db, run.id)) and mail.state == mailbox.NEW)
    children = (runs.get(db, run.id.removeprefix(PREFIX)) for run in undelivered)
    # Not one that is being told already: its turn has begun, and `deliver` will refuse it.
    return [child for child in children if child is not None and _still_waits(db, child)]


def _still_waits(db: sqlite3.Connection, child: RunRecord) -> bool:
    told = runs.get(db, announce_id(child.id))
    return told is not None and told.state in ("queued", "starting")
