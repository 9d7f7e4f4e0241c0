"""The transaction that accepts a message: session, mail and run in one, or nothing.

Owns what makes a run new: its id. A repeated id is the same message; with other content it is refused."""

from __future__ import annotations

import sqlite3
import uuid

from gateway.protocol.errors import invalid, unavailable
from gateway.protocol.keys import SessionKey, parse_key
from gateway.services.changes import Change, Outcome, Queued, SessionChanged, Steered
from gateway.services.idempotency import keep
from gateway.services.lanes import lane_of
from gateway.services.run_state import State
from gateway.services.work import Accepted, ChildLimit, NewMessage, SpawnInfo
from gateway.store import mailbox, records, runs, sessions
from gateway.store.runs import RunRecord
from gateway.store.sessions import SessionRecord

MAX_UNFINISHED_PER_SESSION = 1000
"""Messages one session may have waiting; the next is refused as UNAVAILABLE. Announcements are bounded by the children
there are."""


def accept(db: sqlite3.Connection, message: NewMessage, now: float) -> Outcome[Accepted]:
    """Write a message down. Raises Refusal and ChildLimit; then nothing was written."""
    key = parse_key(message.session_key)
    if key is None:
        raise invalid(f'"{message.session_key[:128]}" is no session key; it looks like agent:main:main')
    known = runs.get(db, message.run_id)
    if known is not None:
        return Outcome(_again(db, known, message, key))
    _check_room(db, message, key)
    session = sessions.get(db, str(key))
    _check_transcript(session, message)
    if session is None:
        _make_session(db, key, message.spawn, message.label, now)
    else:
        sessions.update(db, str(key), updated_at=now)
    if message.spawn is not None:
        _ensure_parent(db, message.spawn.spawned_by, now)
    parent = message.spawn.spawned_by if message.spawn else session.spawned_by if session else None
    depth = session.spawn_depth if session else message.spawn.depth if message.spawn else key.depth
    run = runs.insert(
        db,
        id=message.run_id, session=str(key), agent=key.agent, kind=message.kind, lane=lane_of(message.lane, depth),
        state=State.QUEUED, parent_run=message.parent_run, parent_session=message.spawn and message.spawn.spawned_by,
        sender=message.sender, label=message.label, task_name=message.spawn and message.spawn.task_name,
        announces=int(message.spawn is not None and message.spawn.expects_completion), created_at=now,
        timeout_s=message.timeout_s, digest=message.digest,
    )  # fmt: skip
    owner = parent or run.session
    change = place(db, run, owner, message.text, message.provenance, now, steer=message.steer)
    keep(db, message.record, now)
    disposition = "steered" if isinstance(change, Steered) else "queued"
    changes: list[Change] = [SessionChanged(str(key), "send" if session else "create"), change]
    return Outcome(Accepted(run.id, str(key), True, disposition, now), changes)


def place(
    db: sqlite3.Connection,
    run: RunRecord,
    owner: str,
    text: str,
    provenance: dict[str, object],
    now: float,
    *,
    steer: bool,
) -> Queued | Steered:
    """Put a new run's message into the mailbox: for the turn in progress where that reads messages and `steer` is set,
    else for its own turn."""
    host = runs.reading_run(db, run.session) if steer else None
    mail = mailbox.insert(db, run.id, run.session, text, provenance, now, host.id if host else None)
    if host is None:
        records.unstop_agent(db, run.agent)
    return Steered(run, owner, host, mail) if host else Queued(run, owner, created=True)


def owner_of(db: sqlite3.Connection, run: RunRecord) -> str:
    """Whose turn it uses up in its lane: the parent session's, which a sub-agent's later turns count for as well."""
    if run.parent_session:
        return run.parent_session
    session = sessions.get(db, run.session)
    return (session and session.spawned_by) or run.session


def _again(db: sqlite3.Connection, known: RunRecord, message: NewMessage, key: SessionKey) -> Accepted:
    if known.session != str(key) or known.digest != message.digest:
        raise invalid(f'the idempotency key "{_key(message)}" was used for another message; use a new one')
    mail = mailbox.of_run(db, known.id)
    if mail is not None and not message.digest and mail.text != message.text:
        raise invalid(f'the idempotency key "{_key(message)}" was used with another text; use a new one')
    disposition = "steered" if mail is not None and mail.taken_by else "queued"
    return Accepted(known.id, known.session, False, disposition, known.created_at)


def _key(message: NewMessage) -> str:
    """The key as its caller wrote it; our own ids tell them nothing."""
    return (message.key or message.run_id)[:128]


def _check_room(db: sqlite3.Connection, message: NewMessage, key: SessionKey) -> None:
    spawn = message.spawn
    if spawn is not None and spawn.max_children is not None:
        active = runs.count_unfinished_children(db, spawn.spawned_by)
        if active >= spawn.max_children:
            raise ChildLimit(active, spawn.max_children)
    if runs.count_unfinished(db, str(key)) >= MAX_UNFINISHED_PER_SESSION:
        raise unavailable(
            f"{MAX_UNFINISHED_PER_SESSION} messages wait for the session {key} already; wait, or abort some "
            f"(peergate abort {key})", 5000,
        )  # fmt: skip


def _check_transcript(session: SessionRecord | None, message: NewMessage) -> None:
    most = message.max_transcript_bytes
    if session is not None and most is not None and session.bytes >= most:
        raise invalid(
            f"the transcript of {session.key} has {session.bytes} bytes, {message.max_transcript_key} allows {most}; "
            f"""to begin it anew: peergate call sessions.reset '{{"key": "{session.key}"}}'""",
            code="TRANSCRIPT_FULL", key=message.max_transcript_key,
        )  # fmt: skip


def _ensure_parent(db: sqlite3.Connection, parent: str, now: float) -> None:
    """A child's result must find its parent's session, also when an operator spawned for one that never spoke yet."""
    key = parse_key(parent)
    if key is not None and sessions.get(db, str(key)) is None:
        _make_session(db, key, None, None, now)


def _make_session(
    db: sqlite3.Connection, key: SessionKey, spawn: SpawnInfo | None, label: str | None, now: float
) -> None:
    sessions.insert(
        db,
        key=str(key), session_id=str(uuid.uuid4()), agent=key.agent, kind=key.kind, status="queued",
        created_at=now, updated_at=now,
        label=spawn.label if spawn else label, task_name=spawn.task_name if spawn else None,
        spawned_by=spawn.spawned_by if spawn else None, spawn_depth=spawn.depth if spawn else key.depth,
        cleanup=spawn.cleanup if spawn else "keep",
    )  # fmt: skip
