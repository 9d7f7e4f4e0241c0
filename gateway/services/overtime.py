"""How long a run may take: its deadline, the warning before it, and the wait for any sign of progress.

Owns the reasons, which name the configuration key. What happens to a run that is late is the engine's business."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import trio

from gateway.config.settings import Settings
from gateway.protocol.limits import MAX_RUN_SECONDS
from gateway.services.board import Active
from gateway.services.run_state import State
from gateway.services.timers import Timers
from gateway.store.runs import RunRecord

WARN_SHARE = 0.8
WARN_SECONDS = 30.0
"""A run is warned when four fifths of its time are over, or so many seconds before the end, whichever is later."""


def timeout_of(agent: str, wanted: int | None, settings: Settings) -> int:
    """Seconds a run may take, 0 for ever: its own limit or the configured one, and never more than
    `limits.wallSeconds`."""
    # Bounded again: a row may have been written before its caller was.
    own = settings.agents.defaults.timeout_seconds if wanted is None else max(0, min(wanted, MAX_RUN_SECONDS))
    wall = settings.limits_of(agent).wall_seconds if agent in settings.agents.entries else None
    return min(own, wall) if own and wall else own or wall or 0


def why_late(run: RunRecord, settings: Settings) -> str:
    """The sentence of a run that ran out of time."""
    seconds = ((run.deadline_at or 0) - (run.started_at or 0)) / 1000
    wall = settings.limits_of(run.agent).wall_seconds if run.agent in settings.agents.entries else None
    if wall is not None and wall == round(seconds):
        key = settings.limit_key(run.agent, "wallSeconds")
    elif run.timeout_s is not None:
        key = "its own limit: runTimeoutSeconds of the spawn, agents.defaults.subagents.runTimeoutSeconds, or timeout"
    else:
        key = "agents.defaults.timeoutSeconds"
    return f"the turn took longer than {seconds:g} s ({key})"


def warn_at(started_ms: float, deadline_ms: float) -> float:
    """When a run is to be warned, in milliseconds since the epoch."""
    return max(started_ms + WARN_SHARE * (deadline_ms - started_ms), deadline_ms - WARN_SECONDS * 1000)


class Overtime:
    """Watches the runs workers have. `warn` hears that a run's time is nearly over, `expire` that it is over, with the
    reason."""

    def __init__(
        self, timers: Timers, clock: Callable[[], float], settings: Callable[[], Settings],
        warn: Callable[[Active, float], None], expire: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self._timers = timers
        self._clock = clock
        self._settings = settings
        self._warn = warn
        self._expire = expire

    def begin(self, run: Active, record: RunRecord) -> None:
        """A worker has the run."""
        run.progress = trio.current_time()
        deadline = record.deadline_at
        if deadline is not None:
            why = why_late(record, self._settings())
            self._timers.set(("run", run.id), self._left(deadline), partial(self._expire, run.id, why))
            warning = warn_at(record.started_at or self._clock(), deadline)
            if warning >= self._clock():
                self._timers.set(("warn", run.id), self._left(warning), partial(self._warn, run, deadline))
        self._await_progress(run, float(self._settings().agents.defaults.no_progress_seconds))

    def end(self, run_id: str) -> None:
        """Nobody has the run any more."""
        for what in ("run", "warn", "idle"):
            self._timers.clear((what, run_id))

    def _left(self, at_ms: float) -> float:
        return (at_ms - self._clock()) / 1000

    def _await_progress(self, run: Active, seconds: float) -> None:
        if seconds:
            self._timers.set(("idle", run.id), seconds, partial(self._look, run))

    def _look(self, run: Active) -> None:
        """End a run that gave no sign for long; one that waits for somebody else is not expected to."""
        limit = self._settings().agents.defaults.no_progress_seconds
        if not limit:  # since it began: nobody waits for a sign any more
            return
        if run.state is State.WAITING:
            run.progress = trio.current_time()
        silent = trio.current_time() - run.progress
        if silent < limit:
            return self._await_progress(run, limit - silent)
        self._expire(run.id, f"the turn gave no sign of progress for {limit} s (agents.defaults.noProgressSeconds)")
