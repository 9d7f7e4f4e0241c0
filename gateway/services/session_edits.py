"""Changing sessions as an operator does: make one, name one, remove one. Each is one transaction.

Owns that a label belongs to one session, and that an agent's main session is never removed."""

from __future__ import annotations

import sqlite3
import uuid
from typing import Any

from gateway.protocol.errors import invalid, unavailable
from gateway.protocol.keys import SessionKey
from gateway.services.changes import Outcome, SessionChanged
from gateway.services.engine import Engine
from gateway.services.policy import judge_label
from gateway.store import sessions
from gateway.store.sessions import SessionRecord


class SessionEdits:
    """The one who writes; returns when it is on disk. Every method raises Refusal INVALID_REQUEST for what cannot
    be."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, key: SessionKey, label: str | None = None) -> bool:
        """Make a session; False when there is one of this key, which then keeps its label."""
        _check_label(label)
        now, session_id = self._engine.clock(), str(uuid.uuid4())

        def step(db: sqlite3.Connection) -> Outcome[bool]:
            if sessions.get(db, str(key)) is not None:
                return Outcome(False)
            _check_unused(db, label, str(key))
            sessions.insert(
                db, SessionRecord(str(key), session_id, key.agent, key.kind, "done", now, now, label,
                spawn_depth=key.depth),
            )  # fmt: skip
            return Outcome(True, [SessionChanged(str(key), "create")])

        return await self._engine.commit(step)

    async def label(self, key: str, label: str | None, expected_id: str | None = None) -> None:
        """Name a session, or take its name away."""
        _check_label(label)

        def step(db: sqlite3.Connection) -> Outcome[None]:
            _existing(db, key, expected_id)
            _check_unused(db, label, key)
            sessions.update(db, key, label=label)
            return Outcome(None, [SessionChanged(key, "patch")])

        await self._engine.commit(step)

    async def expect(self, key: str, expected_id: str | None) -> None:
        """Check that there is such a session and that it has not begun anew."""
        self._engine.database.read(lambda db: _existing(db, key, expected_id))

    async def delete(self, key: SessionKey, expected_id: str | None = None) -> bool:
        """Remove a session with its transcript and state; False when there is none. Raises Refusal UNAVAILABLE while
        something goes on in it."""
        name = str(key)
        if key.rest == "main":
            raise invalid(f"{name} is the main session of {key.agent} and stays; sessions.reset begins it anew")

        def step(db: sqlite3.Connection) -> Outcome[bool]:
            if sessions.get(db, name) is None:
                return Outcome(False)
            _existing(db, name, expected_id)
            if sessions.is_at_work(db, name):
                raise unavailable(f"the session {name} is at work; wait, or: peergate abort {name}")
            sessions.delete(db, name)
            return Outcome(True, [SessionChanged(name, "delete")])

        return await self._engine.commit(step)


def _existing(db: sqlite3.Connection, key: str, expected_id: str | None) -> SessionRecord:
    record = sessions.get(db, key)
    if record is None:
        raise invalid(f"there is no session {key}; peergate sessions lists them")
    if expected_id is not None and record.session_id != expected_id:
        raise invalid(f"the session {key} has begun anew since: its sessionId is {record.session_id}")
    return record


def _check_label(label: Any) -> None:
    if label is not None and (wrong := judge_label(label)):
        raise invalid(wrong)


def _check_unused(db: sqlite3.Connection, label: str | None, key: str) -> None:
    taken = [one.key for one in sessions.find(db, {"label": label}, 2) if one.key != key] if label is not None else []
    if taken:
        raise invalid(f'the label "{label}" is in use: {taken[0]} has it')
