"""The transaction that accepts a message: session, mail and run in one, or nothing.

Owns what makes a run new: its id. A repeated id is the same message; with other content it is refused."""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from collections.abc import Sequence

from gateway.protocol.errors import Refusal, invalid, unavailable
from gateway.protocol.keys import SessionKey, parse_key
from gateway.services.changes import Outcome, Queued, SessionChanged, Steered
from gateway.services.idempotency import clash, keep
from gateway.services.lanes import lane_of
from gateway.services.run_state import State
from gateway.services.work import Accepted, ChildLimit, NewMessage, SpawnInfo
from gateway.store import mailbox, records, runs, sessions
from gateway.store.mailbox import MailRecord
from gateway.store.runs import RunRecord
from gateway.store.sessions import SessionRecord

MAX_UNFINISHED_PER_SESSION = 1000
"""Messages one session may have waiting; the next is refused as UNAVAILABLE. Announcements are bounded by the children
there are."""

_QUEUED = State.QUEUED.value

Offer = tuple[NewMessage, float]
"""A message, and when it came."""


def accept_all(db: sqlite3.Connection, offers: Sequence[Offer]) -> list[Outcome[Accepted] | Refusal | ChildLimit]:
    """Write messages down, each as if it came alone after the one before it; of one that is refused, nothing is
    written. What became of each."""
    batch = _Batch(db, [message for message, _ in offers])
    told: list[Outcome[Accepted] | Refusal | ChildLimit] = []
    for message, now in offers:
        try:
            told.append(batch.accept(message, now))
        except (Refusal, ChildLimit) as no:
            told.append(no)
    batch.write()
    return told


class _Batch:
    """Messages accepted together: what the disk says about all of them is asked once, and their rows are written
    once."""

    def __init__(self, db: sqlite3.Connection, messages: Sequence[NewMessage]) -> None:
        self._keys = {text: parse_key(text) for text in {message.session_key for message in messages}}
        names = [*{str(key) for key in self._keys.values() if key is not None}]
        self._db = db
        self._known = runs.get_many(db, [message.run_id for message in messages])
        self._sessions = sessions.get_many(db, names)
        self._kept = records.kept(db, [(one.scope, one.key) for one in messages if one.scope and one.key])
        self._unfinished = Counter(runs.count_unfinished(db, names))
        self._children: dict[str, int] = {}
        self._run_seq, self._mail_id = runs.newest_seq(db), mailbox.newest_id(db)
        self._runs: list[RunRecord] = []
        self._mail: list[MailRecord] = []
        self._touched: dict[str, float] = {}
        self._to_work: set[str] = set()

    def accept(self, message: NewMessage, now: float) -> Outcome[Accepted]:
        """Note one message for `write`. Raises Refusal and ChildLimit; then nothing of it is noted."""
        key = self._keys[message.session_key]
        if key is None:
            raise invalid(f'"{message.session_key[:128]}" is no session key; it looks like agent:main:main')
        if (message.scope, message.key) in self._kept:
            raise clash(message.key or "")
        if message.run_id in self._known:
            self.write()  # it may be one of this batch
            return Outcome(_again(self._db, self._known[message.run_id], message, key))
        name, spawn = str(key), message.spawn
        session = self._sessions.get(name)
        self._check_room(message, name)
        _check_transcript(session, message)
        if session is None:
            session = self._make_session(key, spawn, message.label, now)
            reason = "create"
        else:
            self._touched[name] = now
            reason = "send"
        if spawn is not None:
            self._ensure_parent(spawn.spawned_by, now)
        run = self._add_run(message, key, session, now)
        change = self._place(run, (spawn.spawned_by if spawn else session.spawned_by) or name, message)
        keep(self._db, message.record, now)
        disposition = "steered" if isinstance(change, Steered) else "queued"
        return Outcome(Accepted(run.id, name, True, disposition, now), [SessionChanged(name, reason), change])

    def write(self) -> None:
        """Write what was noted."""
        runs.insert_many(self._db, self._runs)
        mailbox.insert_many(self._db, self._mail)
        if self._touched:
            sessions.touch(self._db, [*self._touched], max(self._touched.values()))
        for agent in self._to_work:
            records.unstop_agent(self._db, agent)
        for noted in (self._runs, self._mail, self._touched, self._to_work):
            noted.clear()

    def _check_room(self, message: NewMessage, session: str) -> None:
        spawn = message.spawn
        if spawn is not None and spawn.max_children is not None:
            active = self._children_of(spawn.spawned_by)
            if active >= spawn.max_children:
                raise ChildLimit(active, spawn.max_children)
        if self._unfinished[session] >= MAX_UNFINISHED_PER_SESSION:
            raise unavailable(
                f"{MAX_UNFINISHED_PER_SESSION} messages wait for the session {session} already; wait, or abort some "
                f"(peergate abort {session})", 5000,
            )  # fmt: skip

    def _children_of(self, parent: str) -> int:
        if parent not in self._children:
            noted = sum(run.kind == "task" and run.parent_session == parent for run in self._runs)
            self._children[parent] = runs.count_unfinished_children(self._db, parent) + noted
        return self._children[parent]

    def _ensure_parent(self, parent: str, now: float) -> None:
        """A child's result must find its parent's session, also when an operator spawned for one that never spoke
        yet."""
        key = parse_key(parent)
        if key is not None and str(key) not in self._sessions and sessions.get(self._db, str(key)) is None:
            self._make_session(key, None, None, now)

    def _make_session(self, key: SessionKey, spawn: SpawnInfo | None, label: str | None, now: float) -> SessionRecord:
        session = SessionRecord(
            key=str(key), session_id=str(uuid.uuid4()), agent=key.agent, kind=key.kind, status="queued",
            created_at=now, updated_at=now,
            label=spawn.label if spawn else label, task_name=spawn.task_name if spawn else None,
            spawned_by=spawn.spawned_by if spawn else None, spawn_depth=spawn.depth if spawn else key.depth,
            cleanup=spawn.cleanup if spawn else "keep",
        )  # fmt: skip
        sessions.insert(self._db, session)
        self._sessions[session.key] = session
        return session

    def _add_run(self, message: NewMessage, key: SessionKey, session: SessionRecord, now: float) -> RunRecord:
        spawn = message.spawn
        self._run_seq += 1
        run = RunRecord(
            seq=self._run_seq, id=message.run_id, session=session.key, agent=key.agent, kind=message.kind,
            lane=lane_of(message.lane, session.spawn_depth), state=_QUEUED, attempt=0, parent_run=message.parent_run,
            parent_session=spawn.spawned_by if spawn else None, sender=message.sender, label=message.label,
            task_name=spawn.task_name if spawn else None, announces=int(spawn is not None and spawn.expects_completion),
            created_at=now, timeout_s=message.timeout_s, digest=message.digest,
        )  # fmt: skip
        self._runs.append(run)
        self._known[run.id] = run
        self._unfinished[session.key] += 1
        if run.kind == "task" and run.parent_session in self._children:
            self._children[run.parent_session] += 1
        return run

    def _place(self, run: RunRecord, owner: str, message: NewMessage) -> Queued | Steered:
        """As `place`, for a run that is only noted."""
        host = self._reading_run(run) if message.steer else None
        self._mail_id += 1
        mail = MailRecord(
            self._mail_id, run.id, run.session, mailbox.TAKEN if host else mailbox.NEW, host.id if host else None,
            message.text, message.provenance, run.created_at,
        )  # fmt: skip
        self._mail.append(mail)
        if host is not None:
            return Steered(run, owner, host, mail)
        self._to_work.add(run.agent)
        return Queued(run, owner, created=True)

    def _reading_run(self, run: RunRecord) -> RunRecord | None:
        """The turn that may be given a new run's message: not before an older one of the same sender that waits."""
        host = runs.reading_run(self._db, run.session)
        if host is None or runs.waits_from(self._db, run.session, run.sender):
            return None
        new = (mail.run for mail in self._mail if mail.state == mailbox.NEW and mail.session == run.session)
        return None if any(self._known[name].sender == run.sender for name in new) else host


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


def _check_transcript(session: SessionRecord | None, message: NewMessage) -> None:
    most = message.max_transcript_bytes
    if session is not None and most is not None and session.bytes >= most:
        raise invalid(
            f"the transcript of {session.key} has {session.bytes} bytes, {message.max_transcript_key} allows {most}; "
            f"""to begin it anew: peergate call sessions.reset '{{"key": "{session.key}"}}'""",
            code="TRANSCRIPT_FULL", key=message.max_transcript_key,
        )  # fmt: skip
