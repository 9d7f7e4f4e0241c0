"""What a runtime is: something that carries out one turn and says what came of it.

A runtime gets the same context a person's own agent gets. It is cancelled to abort a turn; it must then stop what it
started."""

from __future__ import annotations

from typing import Protocol

from agentproc.context import Context


class TurnFailed(Exception):
    """The turn did not work out; the text is what the run's error says, so it speaks to whoever wrote the agent."""


class TurnTimedOut(TurnFailed):
    """The turn took longer than its own limit allows."""


class Runtime(Protocol):
    """One agent's way of doing turns; made once per worker, used for every turn of its session."""

    async def run_turn(self, ctx: Context) -> str | None:
        """Do the turn. The reply, or None when there is nothing to say. Raises TurnFailed."""
        ...


class Broken:
    """A runtime that cannot work here: every turn fails saying why, which is more use than a worker that dies at
    once."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def run_turn(self, ctx: Context) -> str | None:
        """Fail."""
        raise TurnFailed(self._why)
