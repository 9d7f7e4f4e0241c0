"""Sessions and transcripts as clients and tools read them. Owns nothing; nothing here waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.protocol.calls.sessions import SessionRow
from gateway.services.news import message_row, session_row
from gateway.store import sessions
from gateway.store.database import Database
from gateway.store.sessions import SessionRecord

MAX_FOUND = 10
MAX_PAGE = 1000
MAX_PAGE_CHARS = 1_500_000
"""Of the texts in one page of history: below what a peer may leave unread (`limits.MAX_BUFFERED_BYTES`) in any
script."""
COUNT_KEPT_MS = 1000
"""How old the number of sessions may be: `health` asks thousands of times a second, and counting reads the whole
index."""
MAX_TREE_DEPTH = 16
"""Ancestors looked at: sub-agents are at most 5 deep, so more means a circle made by hand."""


class Sessions:
    """Reads. `is_active` says whether a session has a run in progress."""

    def __init__(self, database: Database, clock: Callable[[], float], is_active: Callable[[str], bool]) -> None:
        self._database = database
        self._clock = clock
        self._is_active = is_active
        self._counted_at, self._count = -COUNT_KEPT_MS * 1.0, 0

    def row(self, key: str) -> SessionRow | None:
        """One session, or None."""
        record = self._database.read(lambda db: sessions.get(db, key))
        return self._row(record) if record else None

    def find(
        self, *, label: str | None = None, session_id: str | None = None, agent_id: str | None = None
    ) -> list[str]:
        """Keys of sessions with this label or session id, newest first, at most 10."""
        wanted = {"label": label, "session_id": session_id, "agent": agent_id}
        filters = {name: value for name, value in wanted.items() if value is not None}
        return [record.key for record in self._database.read(lambda db: sessions.find(db, filters, MAX_FOUND))]

    def list_rows(
        self, *, agent_id: str | None = None, spawned_by: str | None = None, active_minutes: int | None = None,
        label: str | None = None, search: str | None = None, limit: int = 100, offset: int = 0,
    ) -> tuple[list[SessionRow], int]:  # fmt: skip
        """One page, newest first, and how many there are in all."""
        wanted = {"agent": agent_id, "spawned_by": spawned_by, "label": label}
        filters = {name: value for name, value in wanted.items() if value is not None}
        since = 0.0 if active_minutes is None else self._clock() - active_minutes * 60_000
        size = max(0, min(limit, MAX_PAGE))
        found, total = self._database.read(lambda db: sessions.page(db, filters, since, search, size, max(0, offset)))
        return [self._row(record) for record in found], total

    def descends_from(self, key: str, ancestor: str) -> bool:
        """Whether `key` was spawned by `ancestor`, directly or through others."""
        current: str | None = key
        for _ in range(MAX_TREE_DEPTH):
            record = self._database.read(lambda db, at=current or "": sessions.get(db, at))  # type: ignore[misc]
            current = record.spawned_by if record else None
            if current is None or current == ancestor:
                return current is not None
        return False

    def history(self, key: str, *, limit: int = 200, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Messages `{role, content:[{type:"text",text}], timestamp, seq, runId, provenance?, stopReason?}`, oldest
        first; `offset` counts back from the newest. And how many there are in all. A page of very long texts is shorter
        than `limit`."""
        size = max(0, min(limit, MAX_PAGE))
        found, total = self._database.read(
            lambda db: sessions.transcript(db, key, size, max(0, offset), MAX_PAGE_CHARS)
        )
        return [message_row(message) for message in found], total

    def count(self) -> int:
        """How many sessions there are, or were a second ago."""
        now = self._clock()
        if now - self._counted_at >= COUNT_KEPT_MS:
            self._counted_at, self._count = now, self._database.read(sessions.count)
        return self._count

    def _row(self, record: SessionRecord) -> SessionRow:
        return msgspec.convert(session_row(record, active=self._is_active(record.key)), SessionRow)
