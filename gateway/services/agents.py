"""One agent held, ended or set going again, and no other. Owns what each of the four words an operator has for it does;
who is held is kept in `holds`."""

from __future__ import annotations

import sqlite3

import msgspec

from gateway.services.changes import Change, Outcome, Queued
from gateway.services.endings import abort
from gateway.services.engine import Engine
from gateway.services.run_state import HELD
from gateway.store import records, runs

STOP_GRACE_SECONDS = 4.0


class Agents:
    """What operators, and the supervisor, do with an agent as a whole."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def quarantined(self, agent: str, on: bool, reason: str) -> None:
        """The supervisor, or an operator, holds or releases an agent. One that is stopped as well stays stopped."""
        engine = self._engine
        if on:
            engine.quarantine(agent, reason)
            fix = f"peergate agents release {agent}"
            engine.news.notice("error", "AGENT_QUARANTINED", f"agent {agent}: {reason}", agentId=agent, fix=fix)
        else:
            engine.holds.release(agent)
            engine.unpark(agent)
            engine.pump()

    async def stop(self, agent: str, reason: str) -> list[str]:
        """End an agent's runs in progress and its workers; what is queued waits for the next message. The ids of the
        runs ended."""
        engine, now = self._engine, self._engine.clock()

        def step(db: sqlite3.Connection) -> Outcome[list[str]]:
            held = [run.id for run in runs.unfinished(db) if run.agent == agent and run.state in HELD]
            ended = abort(db, held, reason, now)
            # Last: what is told here of a run that ends is no message that lets the agent go on.
            records.stop_agent(db, agent, reason, now)
            return Outcome(ended.value, [_lets_nobody_go_on(change, agent) for change in ended.changes])

        def follow(ended: Outcome[list[str]]) -> None:
            engine.holds.stop(agent)
            engine.set_aside(agent)
            engine.apply(ended.changes)

        ended = await engine.database.write(step, then=follow)
        self.stop_workers(agent, reason)
        return ended.value

    async def restart(self, agent: str, reason: str) -> int:
        """End an agent's workers; others come for its runs, also for those that waited because it was stopped. How many
        workers there were."""
        engine = self._engine
        count = self.stop_workers(agent, reason)
        if engine.holds.is_stopped(agent):
            await engine.database.write(lambda db: records.unstop_agent(db, agent), then=lambda _: self._go_on(agent))
        return count

    def _go_on(self, agent: str) -> None:
        self._engine.holds.unstop(agent)
        self._engine.unpark(agent)
        self._engine.pump()

    def stop_workers(self, agent: str, reason: str) -> int:
        """End an agent's workers; their runs are tried again where that is safe. How many there were."""
        seats = self._engine.workers.all_of_agent(agent)
        for seat in seats:
            seat.stopped = True
            self._engine.supervisor.stop_worker(seat.holder.spawn, reason, STOP_GRACE_SECONDS)
        return len(seats)


def _lets_nobody_go_on(change: Change, agent: str) -> Change:
    if isinstance(change, Queued) and change.run.agent == agent:
        return msgspec.structs.replace(change, created=False)
    return change
