"""`health`: the one picture of how the system is, for calls and for the event.

Owns how old it may be. Composing it reads the database and every agent, and so does writing it down; it is asked for
thousands of times a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.protocol.calls.agents import AgentSummary
from gateway.protocol.calls.system import AgentHealth, Health, Heartbeat, Recent, SessionsHealth
from gateway.protocol.frames import Codec
from gateway.services.engine import Engine
from gateway.services.info import Info
from gateway.store import session_list

KEPT_MS = 100
"""How old an answer may be."""
SESSIONS_KEPT_MS = 1000
"""How old what is said of sessions may be: counting them reads a whole index."""
RECENT = 5
"""Sessions told of each agent, and of all."""


class HealthBook:
    """Pictures, each kept for a moment. `counters` are the composition root's, by name."""

    def __init__(self, engine: Engine, info: Info, counters: Mapping[str, Callable[[], Any]]) -> None:
        self._engine = engine
        self._info = info
        self._counters = counters
        self._kept: Health | None = None
        self._written: dict[str, msgspec.Raw] = {}  # the one that is kept, by codec
        self._busy: dict[str, SessionsHealth] = {}
        self._busy_at = float("-inf")

    def picture(self, *, probe: bool = False) -> Health:
        """How it is now, or was a tenth of a second ago; `probe` looks at everything now."""
        kept, now = self._kept, self._engine.clock()
        if probe or kept is None or not 0 <= now - kept.ts < KEPT_MS:
            kept = self._kept = self._look(now, probe=probe)
            self._written.clear()
        return kept

    def written(self, codec: Codec, *, probe: bool = False) -> msgspec.Raw:
        """The same as it travels, for an answer in this codec."""
        picture = self.picture(probe=probe)
        if codec.name not in self._written:
            self._written[codec.name] = msgspec.Raw(codec.encode_value(picture))
        return self._written[codec.name]

    def agents(self) -> list[AgentSummary]:
        """Every configured agent in one line."""
        engine = self._engine
        return [
            AgentSummary(
                id=agent_id,
                runtime=str(agent.runtime.__struct_config__.tag),
                name=agent.name,
                is_default=agent_id == engine.settings.default_agent,
                quarantined=engine.holds.reason(agent_id) is not None,
                stopped=engine.holds.is_stopped(agent_id),
                held=engine.holds.why(agent_id),
                workers=engine.workers.of_agent(agent_id),
            )
            for agent_id, agent in engine.settings.agents.entries.items()
        ]

    def _look(self, now: float, *, probe: bool) -> Health:
        engine, info, began = self._engine, self._info, time.monotonic()
        busy = self._sessions_of(now, probe=probe)
        database, counted = engine.database, self._counters.get("connections")
        return Health(
            ok=database.trouble is None and not database.broken.is_set(),
            ts=int(now),
            uptime_ms=round(now - info.started_ms),
            version=info.version,
            generation=info.generation,
            epoch=info.epoch,
            default_agent_id=engine.settings.default_agent,
            heartbeat_seconds=0,
            agents=[_with_sessions(agent, busy) for agent in self.agents()],
            sessions=busy[""],
            runs=engine.board.counts(),
            workers=engine.workers.connected(),
            connections=counted() if counted else 0,
            database=database.facts(),
            channels={},
            channel_order=[],
            channel_labels={},
            duration_ms=round((time.monotonic() - began) * 1000),
        )

    def _sessions_of(self, now: float, *, probe: bool) -> dict[str, SessionsHealth]:
        """By agent, and of all under the empty name."""
        if probe or not 0 <= now - self._busy_at < SESSIONS_KEPT_MS:
            agents = [*self._engine.settings.agents.entries]
            found = self._engine.database.read(lambda db: session_list.busiest(db, agents, RECENT))
            path = str(self._engine.database.path)
            self._busy = {name: _busy(count, recent, path, now) for name, (count, recent) in found.items()}
            self._busy_at = now
        return self._busy


def _busy(count: int, recent: list[tuple[str, float]], path: str, now: float) -> SessionsHealth:
    rows = [Recent(key, round(at), max(0, round(now - at))) for key, at in recent]
    return SessionsHealth(count, count, path, rows)


def _with_sessions(agent: AgentSummary, busy: Mapping[str, SessionsHealth]) -> AgentHealth:
    told = {name: getattr(agent, name) for name in AgentSummary.__struct_fields__}
    return AgentHealth(**told, agent_id=agent.id, heartbeat=Heartbeat(), sessions=busy.get(agent.id, busy[""]))
