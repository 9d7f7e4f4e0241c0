"""Sessions and transcripts as clients and tools read them. Owns nothing; nothing here waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.protocol.calls.sessions import SessionRow
from gateway.services.news import message_row, session_row
from gateway.store import session_list, sessions
from gateway.store.database import Database
from gateway.store.session_list import Wanted
from gateway.store.sessions import SessionRecord

MAX_FOUND = 10
MAX_PAGE = 1000
MAX_PAGE_CHARS = 1_500_000
"""Of the texts in one page of history: below what a peer may leave unread (`limits.MAX_BUFFERED_BYTES`) in any
script."""
MAX_TREE_DEPTH = 16
"""Ancestors looked at: sub-agents are at most 5 deep, so more means a circle made by hand."""
TITLE_CHARS = 60
PREVIEW_CHARS = 240


class Sessions:
    """Reads. `busy` says which sessions have a run in progress."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float],
        is_active: Callable[[str], bool],
        busy: Callable[[], Sequence[str]] = list,
    ) -> None:
        self._database = database
        self._clock = clock
        self._is_active = is_active
        self._busy = busy

    def row(self, key: str) -> SessionRow | None:
        """One session, or None."""
        record = self._database.read(lambda db: sessions.get(db, key))
        return self._row(record) if record else None

    def find(
        self, *, label: str | None = None, session_id: str | None = None, agent_id: str | None = None,
        spawned_by: str | None = None,
    ) -> list[str]:  # fmt: skip
        """Keys of sessions with this label or session id, newest first, at most 10."""
        wanted = {"label": label, "session_id": session_id, "agent": agent_id, "spawned_by": spawned_by}
        filters = {name: value for name, value in wanted.items() if value is not None}
        return [record.key for record in self._database.read(lambda db: sessions.find(db, filters, MAX_FOUND))]

    def find_short(self, start: str) -> list[str]:
        """Keys of sessions whose session id begins so, newest first, at most 10."""
        return self._database.read(lambda db: session_list.by_short_id(db, start.lower(), MAX_FOUND))

    def list_rows(
        self, *, agent_id: str | None = None, spawned_by: str | None = None, active_minutes: int | None = None,
        label: str | None = None, search: str | None = None, limit: int = 100, offset: int = 0,
        active_only: bool = False, agents: Sequence[str] | None = None, without: Sequence[str] = (),
    ) -> tuple[list[SessionRow], int]:  # fmt: skip
        """One page, newest first, and how many there are in all. `without`: kinds that are left out."""
        equal = {"agent": agent_id, "spawned_by": spawned_by, "label": label}
        wanted = Wanted(
            {name: value for name, value in equal.items() if value is not None},
            0.0 if active_minutes is None else self._clock() - active_minutes * 60_000,
            search,
            self._busy() if active_only else None,
            agents,
            without,
        )
        size = max(0, min(limit, MAX_PAGE))
        found, total = self._database.read(lambda db: session_list.page(db, wanted, size, max(0, offset)))
        return [self._row(record) for record in found], total

    def titled(self, row: SessionRow, *, title: bool, last: bool) -> SessionRow:
        """A row with what its first message says (`derivedTitle`) and the last one (`lastMessagePreview`)."""
        first = self._words(row.key, "user", TITLE_CHARS) if title else None
        final = self._words(row.key, "assistant", PREVIEW_CHARS, last=True) if last else None
        return msgspec.structs.replace(row, derived_title=first, last_message_preview=final)

    def _words(self, key: str, role: str, chars: int, *, last: bool = False) -> str | None:
        return self._database.read(lambda db: session_list.first_words(db, key, role, chars, last=last))

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

    def said_since(self, key: str, seq: int, *, limit: int = 200) -> list[dict[str, Any]]:
        """Messages after number `seq`, oldest first."""
        size = max(1, min(limit, MAX_PAGE))
        found = self._database.read(lambda db: session_list.said_since(db, key, seq, size, MAX_PAGE_CHARS))
        return [message_row(message) for message in found]

    def _row(self, record: SessionRecord) -> SessionRow:
        return msgspec.convert(session_row(record, active=self._is_active(record.key)), SessionRow)
