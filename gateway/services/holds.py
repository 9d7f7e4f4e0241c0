"""Agents that are not to work now: in quarantine, or stopped until the next message. Owns who is held, why, and the
runs that wait for it. No I/O."""

from __future__ import annotations


class Holds:
    """Quarantined agents with the reason, stopped agents, and parked runs by agent."""

    def __init__(self) -> None:
        self._quarantined: dict[str, str] = {}
        self._stopped: set[str] = set()
        self._parked: dict[str, dict[str, None]] = {}

    def quarantine(self, agent: str, why: str) -> None:
        """Hold an agent until it is released."""
        self._quarantined[agent] = why

    def release(self, agent: str) -> None:
        """It is not in quarantine any more."""
        self._quarantined.pop(agent, None)

    def stop(self, agent: str) -> None:
        """Hold an agent until the next message to it."""
        self._stopped.add(agent)

    def unstop(self, agent: str) -> bool:
        """A message came; says whether the agent was stopped until now."""
        stopped = agent in self._stopped
        self._stopped.discard(agent)
        return stopped

    def reason(self, agent: str) -> str | None:
        """Why an agent is in quarantine, or None."""
        return self._quarantined.get(agent)

    def why(self, agent: str) -> str | None:
        """Why an agent's messages wait, and the command that lets them go on; None for an agent that works."""
        if agent in self._quarantined:
            how = f"to release it: peergate agents release {agent}"
            return f"agent {agent} is in quarantine ({self._quarantined[agent]}); {how}"
        if agent in self._stopped:
            return f"agent {agent} is stopped until its next message; or: peergate agents restart {agent}"
        return None

    def is_stopped(self, agent: str) -> bool:
        """Whether it waits for the next message."""
        return agent in self._stopped

    def park(self, agent: str, run: str) -> None:
        """A run that waits for its agent."""
        self._parked.setdefault(agent, {})[run] = None

    def unpark(self, agent: str, run: str) -> None:
        """A parked run has ended."""
        parked = self._parked.get(agent)
        if parked is not None:
            parked.pop(run, None)
            if not parked:
                del self._parked[agent]

    def awaited(self) -> set[str]:
        """The agents that runs wait for."""
        return {*self._parked}

    def take_parked(self, agent: str) -> list[str]:
        """The runs that waited, in order; they are parked no longer."""
        return list(self._parked.pop(agent, {}))
