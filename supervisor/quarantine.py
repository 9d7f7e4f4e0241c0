"""When an agent dies too often to be started again. Pure: time is an argument.

Owns: the count of deaths per agent. What an operator held stays held; what was counted is held until it is released."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from supervisor.messages import MAX_REASON_CHARS

DEATHS = 5
SECONDS = 60.0


@dataclass(slots=True)
class Quarantine:
    """Which agents are held, and why; how often each of the others died lately (at most `deaths` times are kept)."""

    deaths: int = DEATHS
    seconds: float = SECONDS
    held: dict[str, str] = field(default_factory=dict)
    _recent: dict[str, deque[float]] = field(default_factory=dict)

    def died(self, agent: str, now: float) -> bool:
        """Count one death. True when this very one puts the agent in quarantine."""
        recent = self._recent.setdefault(agent, deque(maxlen=self.deaths))
        recent.append(now)
        if agent in self.held or len(recent) < self.deaths or now - recent[0] > self.seconds:
            return False
        self.held[agent] = f"{self.deaths} deaths within {now - recent[0]:.0f} s"
        return True

    def hold(self, agent: str, reason: str) -> None:
        """Held, for this reason: MAX_REASON_CHARS of it."""
        self.held[agent] = reason[:MAX_REASON_CHARS]

    def release(self, agent: str) -> None:
        """Free again, with nothing counted against it."""
        self.held.pop(agent, None)
        self._recent.pop(agent, None)
