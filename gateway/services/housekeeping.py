"""Keeps the database from growing for ever: what is dropped, after how long, in small steps."""

from __future__ import annotations

import logging
import sqlite3

import trio

from gateway.protocol.errors import Refusal
from gateway.services.changes import Outcome, SessionChanged
from gateway.services.engine import Engine
from gateway.store import records, runs, sessions

log = logging.getLogger("gateway.housekeeping")

EVERY_SECONDS = 60.0
EVENTS_KEPT_MS = 3_600_000
"""Events of an ended run, for whoever still looks at it; its text and error stay."""
ANSWERS_KEPT_MS = 24 * 3_600_000
"""Recorded answers; a call is not sent again after a day."""
REFUSALS_KEPT = 10_000
STEP = 500
"""Rows (runs, for events) dropped in one transaction, so that nobody waits long behind it."""


async def keep_house(engine: Engine) -> None:
    """Clean up now and then, for ever."""
    while True:
        await trio.sleep(EVERY_SECONDS)
        try:
            await clean(engine)
        except Refusal as refusal:
            log.warning("nothing was cleaned up: %s", refusal)


async def clean(engine: Engine) -> None:
    """One round."""
    database, now = engine.database, engine.clock()
    while await database.write(lambda db: runs.drop_events_of_ended(db, now - EVENTS_KEPT_MS, STEP)) > 0:
        pass
    while await database.write(lambda db: records.forget(db, now - ANSWERS_KEPT_MS, STEP)) > 0:
        pass
    await database.write(lambda db: records.trim_refusals(db, REFUSALS_KEPT))
    minutes = engine.settings.agents.defaults.subagents.archive_after_minutes
    if minutes:
        await engine.commit(lambda db: archive(db, now - minutes * 60_000))


def archive(db: sqlite3.Connection, before: float) -> Outcome[int]:
    """Remove sub-agent sessions nothing happens in any more; their runs stay."""
    keys = sessions.idle_subagents(db, before, STEP)
    for key in keys:
        sessions.delete(db, key)
    return Outcome(len(keys), [SessionChanged(key, "delete") for key in keys])
