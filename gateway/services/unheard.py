"""What waits longer than its sender would think, and why: results of sub-agents, and messages for an agent that is
held. They are never dropped.

Owns `announceTimeoutMs` and the reasons. One deadline for each announcement nobody has begun to hear; nothing polls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from gateway.config.settings import Settings
from gateway.protocol.errors import Refusal
from gateway.services.board import Active, Board
from gateway.services.holds import Holds
from gateway.services.lanes import Lanes
from gateway.services.run_state import State
from gateway.services.timers import Timers
from gateway.services.workers import Workers
from gateway.store import runs
from gateway.store.database import Database

KEY = "agents.defaults.subagents.announceTimeoutMs"


class Surroundings(Protocol):
    """What of the engine is asked for the reasons."""

    database: Database
    settings: Settings
    clock: Callable[[], float]
    timers: Timers
    board: Board
    holds: Holds
    lanes: Lanes
    workers: Workers
    draining: str | None


class Unheard:
    """Watches queued announcements of an engine. `tell` hears of one that waits too long, with the sentence."""

    def __init__(self, engine: Surroundings, tell: Callable[[Active, str], None]) -> None:
        self._engine = engine
        self._tell = tell

    def begin(self, run: Active, queued_at: float) -> None:
        """A run waits since `queued_at` (wall milliseconds); only announcements no turn has begun with count."""
        if run.kind == "announce" and run.attempt == 0:
            left = self._limit_ms(run) - (self._engine.clock() - queued_at)
            self._engine.timers.set(("announce", run.id), left / 1000, partial(self._overdue, run))

    def end(self, run_id: str) -> None:
        """It waits no longer, or its message went another way."""
        self._engine.timers.clear(("announce", run_id))

    def why(self, run: Active, queued_at: float, *, always: bool = False) -> str | None:
        """Why a run waits for its agent; of an announcement, why it still waits when that takes longer than it may.
        `always`: what any run waits for that no worker has, also when all is as it should be."""
        if run.host is not None or run.state not in (State.QUEUED, State.STARTING):
            return None
        if run.kind != "announce":
            told = self._engine.holds.why(run.agent)
        else:
            overdue = run.attempt == 0 and self._engine.clock() - queued_at >= self._limit_ms(run)
            told = self._sentence(run) if overdue else None
        return told or (self._cause(run, since=False) if always else None)

    def _limit_ms(self, run: Active) -> int:
        settings = self._engine.settings
        known = run.agent in settings.agents.entries
        return (settings.subagents_of(run.agent) if known else settings.agents.defaults.subagents).announce_timeout_ms

    def _overdue(self, run: Active) -> None:
        self._tell(run, self._sentence(run))

    def _sentence(self, run: Active) -> str:
        why = self._cause(run, since=True)
        return f"waits for {run.session} longer than {self._limit_ms(run)} ms ({KEY}): {why}"

    def _cause(self, run: Active, *, since: bool) -> str:
        """`since`: also since when, which is one more look at the disk."""
        engine = self._engine
        if (held := engine.holds.why(run.agent)) is not None:
            return held
        if engine.database.trouble is not None:
            return engine.database.trouble.shape.message
        if engine.draining is not None:
            return f"the system is stopping ({engine.draining})"
        if run.state is State.STARTING:
            return engine.workers.cause(run.session)
        current = engine.board.current(run.session)
        if current is not None:
            return f"its session is busy with the run {current.id}{self._since(current.id) if since else ''}"
        used, cap = engine.lanes.load(run.lane)
        if used < cap:
            return "an older message of the same sender to its session waits in another lane"
        key = "maxConcurrent" if run.lane == "main" else "subagents.maxConcurrent"
        return f"the lane {run.lane} is full ({used} of {cap}, agents.defaults.{key})"

    def _since(self, run_id: str) -> str:
        try:
            record = self._engine.database.read(lambda db: runs.get(db, run_id))
        except Refusal:  # only when it began stays unsaid
            return ""
        if record is None or record.started_at is None:
            return ""
        return f" since {datetime.fromtimestamp(record.started_at / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
