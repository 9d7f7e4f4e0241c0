"""Rows about agents: which there are, what they are called, which models they use, and holding one of them alone."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.protocol import scopes
from gateway.protocol.calls.row import ABSENT, Inert, Params, Result, Row
from gateway.protocol.limits import MAX_REASON_CHARS


class AgentSummary(Result, frozen=True):
    """One configured agent as `agents.list` tells it. `held`: why its messages wait, and the command that lets them go
    on."""

    id: str
    runtime: str
    name: str | None = None
    is_default: bool = False
    quarantined: bool = False
    stopped: bool = False
    held: str | None = None
    workers: int = 0


class AgentModel(Result, frozen=True):
    """What answers for an agent: the model it is configured to use, or, for one that is a program, its kind. OpenClaw's
    Control UI lets nobody write to an agent that names none."""

    primary: str
    fallbacks: tuple[str, ...] = ()


class AgentRow(AgentSummary, frozen=True):
    """The same for a client that shows the agent."""

    model: AgentModel | None = None


class AgentIdentity(Params, frozen=True):
    """By id, or as the agent of a session; neither: the default agent."""

    agent_id: str | None = None
    session_key: str | None = None


class ModelsList(Params, frozen=True):
    """The models that agents are configured to use; a gateway has no catalogue of its own."""

    provider: str | None = None
    agent_id: str | None = None
    view: Inert = ABSENT
    refresh: Inert = ABSENT
    prepared_only: Inert = ABSENT
    include_details: Inert = ABSENT
    session_key: Inert = ABSENT


class OneAgent(Params, frozen=True):
    """`reason` is told to whoever is affected and logged."""

    agent_id: str
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARS)] | None = None


ROWS = (
    Row("agents.list", scopes.READ, "The configured agents and which is the default."),
    Row("agent.identity.get", scopes.READ, "What an agent is called.", AgentIdentity),
    Row("models.list", scopes.READ, "Models in use.", ModelsList),
    Row("agents.stop", scopes.ADMIN, "End an agent's workers; its queued runs wait for the next message.", OneAgent),
    Row("agents.restart", scopes.ADMIN, "End an agent's workers and start them again for queued runs.", OneAgent),
    Row(
        "agents.quarantine",
        scopes.ADMIN,
        "End an agent's workers and start none until it is released, also after a restart.",
        OneAgent,
    ),
    Row("agents.release", scopes.ADMIN, "Let a quarantined agent work again.", OneAgent),
)
