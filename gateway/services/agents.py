"""One agent held, ended or set going again, and no other. Owns what each of the four words an operator has for it does;
who is held is kept in `holds`."""

from __future__ import annotations

from functools import partial

from gateway.services.endings import abort
from gateway.services.engine import Engine
from gateway.services.run_state import HELD
from gateway.store import records

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
        engine.holds.stop(agent)
        await engine.database.write(lambda db: records.stop_agent(db, agent, reason, now))
        ended: list[str] = []
        for run in engine.board.of_agent(agent):
            if run.state in HELD:
                aborted: list[str] = await engine.commit(partial(abort, roots=[run.id], reason=reason, now=now))
                ended += aborted
            elif run.host is None:
                engine.put_back(run)
        self.stop_workers(agent, reason)
        return ended

    async def restart(self, agent: str, reason: str) -> int:
        """End an agent's workers; others come for its runs, also for those that waited because it was stopped. How many
        workers there were."""
        engine = self._engine
        count = self.stop_workers(agent, reason)
        if engine.holds.is_stopped(agent):
            await engine.database.write(lambda db: records.unstop_agent(db, agent))
            engine.holds.unstop(agent)
            engine.unpark(agent)
            engine.pump()
        return count

    def stop_workers(self, agent: str, reason: str) -> int:
        """End an agent's workers; their runs are tried again where that is safe. How many there were."""
        seats = self._engine.workers.all_of_agent(agent)
        for seat in seats:
            seat.stopped = True
            self._engine.supervisor.stop_worker(seat.holder.spawn, reason, STOP_GRACE_SECONDS)
        return len(seats)
