"""Rows about agents: which there are, and holding one of them alone."""

from __future__ import annotations

from gateway.protocol import scopes
from gateway.protocol.calls.row import Params, Row


class OneAgent(Params, frozen=True):
    """`reason` is told to whoever is affected and logged."""

    agent_id: str
    reason: str | None = None


ROWS = (
    Row("agents.list", scopes.READ, "The configured agents and which is the default."),
    Row("agents.stop", scopes.ADMIN, "End an agent's workers; its queued runs wait for the next message.", OneAgent),
    Row("agents.restart", scopes.ADMIN, "End an agent's workers and start them again for queued runs.", OneAgent),
    Row("agents.quarantine", scopes.ADMIN, "End an agent's workers and start none until it is released.", OneAgent),
    Row("agents.release", scopes.ADMIN, "Let a quarantined agent work again.", OneAgent),
)
