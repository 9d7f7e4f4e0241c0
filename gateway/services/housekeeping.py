"""Keeps the database from growing for ever: what is dropped, after how long, in small steps.

Owns the ages and numbers that nobody configures; `session.maintenance` and `agents.defaults.subagents.
archiveAfterMinutes` are the others. What an operator has to decide about (a parked message) is kept, whatever its
age."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable

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
STEP = 500
"""Rows (runs, for events) dropped in one transaction, so that nobody waits long behind it."""
STEPS = 200
"""Transactions of one kind in one round; what is left waits for the next."""
WARN_EVERY_MS = 3_600_000


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
        self._events_until = 0.0
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
        for _ in range(STEPS):
            if await self._engine.database.write(step) < STEP:
                return

    async def _drop_events(self, before: float) -> None:
        for _ in range(STEPS):
            since = self._events_until
            if since >= before:
                return
            self._events_until = await self._engine.database.write(
                lambda db, since=since: runs.drop_events_of_ended(db, since, before, STEP)  # type: ignore[misc]
            )

    async def _archive(self, now: float) -> None:
        """Sub-agents that have been idle for as long as their agent's settings say."""
        settings = self._engine.settings
        for agent in settings.agents.entries:
            if minutes := settings.subagents_of(agent).archive_after_minutes:
                before = now - minutes * 60_000
                await self._engine.commit(
                    lambda db, agent=agent, before=before: remove(db, sessions.idle_subagents(db, agent, before, STEP))  # type: ignore[misc]
                )

    async def _prune_sessions(self, now: float) -> None:
        rules = self._engine.settings.session.maintenance
        old = now - rules.prune_after_ms
        if rules.mode == "enforce":
            for _ in range(STEPS):
                if await self._engine.commit(lambda db: prune(db, old, rules.max_entries)) < STEP:
                    return
        elif now - self._warned_at >= WARN_EVERY_MS:
            self._warned_at = now
            self._warn(rules, old)

    def _warn(self, rules: Maintenance, old: float) -> None:
        found = len(self._engine.database.read(lambda db: sessions.idle(db, old, STEP)))
        more = self._engine.database.read(sessions.count) - rules.max_entries
        if found or more > 0:
            text = f"{found} idle sessions are older than session.maintenance.pruneAfter ({rules.prune_after}), and "
            text += f"{max(0, more)} are more than session.maintenance.maxEntries ({rules.max_entries}); mode enforce "
            self._engine.news.notice("warn", "MAINTENANCE", f"{text}removes them")

    async def _prune_runs(self, now: float) -> None:
        rules, day = self._engine.settings.session.maintenance, now - ANSWERS_KEPT_MS
        old = min(day, now - rules.prune_after_ms)
        if rules.mode == "enforce":
            await self._often(lambda db: runs.drop_ended(db, old, None, STEP))
        last = self._engine.database.read(runs.newest_seq) - RUNS_KEPT
        if last > 0:
            await self._often(lambda db: runs.drop_ended(db, day, last, STEP))


def prune(db: sqlite3.Connection, old: float, most: int) -> Outcome[int]:
    """Remove idle sessions that are too old, or the longest idle ones when there are too many."""
    too_many = sessions.count(db) - most
    keys = sessions.idle(db, old, STEP)
    if len(keys) < too_many:
        keys = sessions.idle(db, float("inf"), min(STEP, too_many))
    return remove(db, keys)


def remove(db: sqlite3.Connection, keys: list[str]) -> Outcome[int]:
    """Remove sessions with what was said in them; their runs stay."""
    for key in keys:
        sessions.delete(db, key)
    return Outcome(len(keys), [SessionChanged(key, "delete") for key in keys])
