"""Answers kept by key, so that a call that is sent again is not done again.

Owns how an answer is compared and stored. A key belongs to its scope (a session, or an operator's account)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from gateway.protocol.errors import Refusal, invalid
from gateway.services.work import Record
from gateway.store import records
from gateway.store.database import Database

Keep = Callable[[Mapping[str, Any]], Record | None]
"""What is to be kept of an answer, which its effect is written with; None for a caller without a key."""


def unkept(answer: Mapping[str, Any]) -> None:
    """Nothing: the caller gave no key."""


def keep(db: sqlite3.Connection, record: Record | None, now: float) -> None:
    """Write an answer in the transaction that writes its effect. One recorded before under the key stays."""
    if record is not None:
        packed = json.dumps(record.result, separators=(",", ":"))
        records.remember(db, record.scope, record.key, record.digest, packed, now)


def recalled(db: sqlite3.Connection, scope: str, key: str, digest: str) -> Any | None:
    """The recorded answer, or None. Raises Refusal INVALID_REQUEST when the key was used with other arguments."""
    found = records.recall(db, scope, key)
    if found is None:
        return None
    if found[0] != digest:
        raise clash(key)
    return json.loads(found[1])


def clash(key: str) -> Refusal:
    """What is told when a key was used for something else."""
    return invalid(f'the idempotency key "{key[:128]}" was used with other arguments; use a new one for a new call')


class Idempotency:
    """Recorded answers; they are kept for 24 hours (`housekeeping`)."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def recall(self, scope: str, key: str, digest: str) -> Any | None:
        """The recorded answer, or None. Raises Refusal as `recalled`."""
        return self._database.read(lambda db: recalled(db, scope, key, digest))

    async def record(self, scope: str, key: str, digest: str, result: dict[str, Any]) -> None:
        """Keep an answer whose effect is on disk already; the first one recorded stays."""
        now = self._clock()
        await self._database.write(lambda db: keep(db, Record(scope, key, digest, result), now))
