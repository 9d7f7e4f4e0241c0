"""Keeps the database from growing for ever: what is dropped, after how long, in small steps.

Owns the ages and numbers that nobody configures; `session.maintenance` and `agents.defaults.subagents.
archiveAfterMinutes` are the others. What an operator has to decide about (a parked message) is kept, whatever its
age."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from gateway.config.settings import Maintenance
from gateway.protocol.errors import Refusal
from gateway.services.changes import Outcome, SessionChanged
from gateway.services.engine import Engine
from gateway.store import audit, mailbox, records, runs, sessions, tool_calls

log = logging.getLogger("gateway.housekeeping")

EVERY_SECONDS = 60.0
EVENTS_KEPT_MS = 3_600_000
"""Events of an ended run, for whoever still looks at it; its text and error stay."""
ANSWERS_KEPT_MS = 24 * 3_600_000
"""Recorded answers and actions, and messages somebody is through with; a call is not sent again after a day."""
RUNS_KEPT = 100_000
"""Runs, whatever `pruneAfter` says; but those of the last day always, because a run's id is an idempotency key."""
REFUSALS_KEPT = 10_000
STEP = 50
"""Rows (sessions, runs) dropped in one transaction with all that hangs on them, so that nobody waits long behind it: 2
to 6 ms here. With 500 sessions it is 30 to 45 ms, and 2.6 MB to keep what the savepoint may have to put back."""
STEPS = 2000
"""Transactions of one kind in one round; what is left waits for the next."""
WARN_EVERY_MS = 3_600_000
MOST_TOLD = 500
"""Idle sessions that a warning counts."""


async def keep_house(engine: Engine, *also: Callable[[], Awaitable[None]]) -> None:
    """Clean up now and then, for ever; `also` drops what has expired elsewhere."""
    house = House(engine, *also)
    while True:
        await trio.sleep(EVERY_SECONDS)
        try:
            await house.clean()
        except Refusal as refusal:
            log.warning("nothing was cleaned up: %s", refusal)


class House:
    """One database being kept. Remembers up to when events were dropped, so that a round need not look again."""

    def __init__(self, engine: Engine, *also: Callable[[], Awaitable[None]]) -> None:
        self._engine = engine
        self._also = also
        self._events_until = (0.0, -1)
        self._warned_at = float("-inf")

    async def clean(self) -> None:
        """One round."""
        now = self._engine.clock()
        for expire in self._also:
            await expire()
        await self._often(lambda db: audit.trim(db, STEP))
        await self._drop_events(now - EVENTS_KEPT_MS)
        await self._often(lambda db: records.forget(db, now - ANSWERS_KEPT_MS, STEP))
        await self._often(lambda db: tool_calls.forget(db, now - ANSWERS_KEPT_MS, STEP))
        await self._often(lambda db: mailbox.forget(db, now - ANSWERS_KEPT_MS, STEP))
        await self._engine.database.write(lambda db: records.trim_refusals(db, REFUSALS_KEPT))
        await self._archive(now)
        await self._prune_sessions(now)
        await self._prune_runs(now)

    async def _often(self, step: Callable[[sqlite3.Connection], int]) -> None:
        await _until_done(lambda: self._engine.database.write(step))

    async def _drop_events(self, before: float) -> None:
        if before < self._events_until[0]:  # the clock was put back: what ends now ends before what was looked at
            self._events_until = (0.0, -1)
        for _ in range(STEPS):
            since = self._events_until
            if since[0] >= before:
                return
            self._events_until = await self._engine.database.write(
                lambda db, since=since: runs.drop_events_of_ended(db, since, before, STEP)  # type: ignore[misc]
            )

    async def _archive(self, now: float) -> None:
        """Sub-agents that have been idle for as long as their agent's settings say."""
        settings = self._engine.settings
        for agent in settings.agents.entries:
            if minutes := settings.subagents_of(agent).archive_after_minutes:
                await self._remove(partial(sessions.idle_subagents, agent=agent, updated_before=now - minutes * 60_000))

    async def _prune_sessions(self, now: float) -> None:
        rules = self._engine.settings.session.maintenance
        old = now - rules.prune_after_ms
        if rules.mode == "enforce":
            await self._remove(partial(pruned, old=old, most=rules.max_entries))
        elif now - self._warned_at >= WARN_EVERY_MS:
            self._warned_at = now
            self._warn(rules, old)

    def _warn(self, rules: Maintenance, old: float) -> None:
        found = len(self._engine.database.read(lambda db: sessions.idle(db, old, MOST_TOLD)))
        more = self._engine.database.read(sessions.count) - rules.max_entries
        if found or more > 0:
            text = f"{found} idle sessions are older than session.maintenance.pruneAfter ({rules.prune_after}), and "
            text += f"{max(0, more)} are more than session.maintenance.maxEntries ({rules.max_entries}); mode enforce "
            self._engine.news.notice("warn", "MAINTENANCE", f"{text}removes them")

    async def _remove(self, find: Callable[..., list[str]]) -> None:
        """Sessions go with what was said in them; their runs stay."""

        def step(db: sqlite3.Connection) -> Outcome[int]:
            keys = find(db, limit=STEP)
            for key in keys:
                sessions.delete(db, key)
            return Outcome(len(keys), [SessionChanged(key, "delete") for key in keys])

        await _until_done(lambda: self._engine.commit(step))

    async def _prune_runs(self, now: float) -> None:
        rules, day = self._engine.settings.session.maintenance, now - ANSWERS_KEPT_MS
        old = min(day, now - rules.prune_after_ms)
        if rules.mode == "enforce":
            await self._often(lambda db: runs.drop_ended(db, old, None, STEP))
        last = self._engine.database.read(runs.newest_seq) - RUNS_KEPT
        if last > 0:
            await self._often(lambda db: runs.drop_ended(db, day, last, STEP))


async def _until_done(step: Callable[[], Awaitable[int]]) -> None:
    for _ in range(STEPS):
        if await step() < STEP:
            return


def pruned(db: sqlite3.Connection, old: float, most: int, limit: int) -> list[str]:
    """Up to `limit` idle sessions that are too old, or the longest idle ones when there are too many."""
    too_many = sessions.count(db) - most
    keys = sessions.idle(db, old, limit)
    return keys if len(keys) >= too_many else sessions.idle(db, float("inf"), min(limit, too_many))
