"""Agents: which there are, what they are called, which models they use, and holding one of them alone."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.config.agent_settings import ModelChoice, ModelRuntime
from gateway.config.settings import Settings
from gateway.handlers.targets import agent_of
from gateway.protocol.calls.agents import AgentIdentity, AgentModel, AgentRow, ModelsList, OneAgent
from gateway.router import Call, Handler


def agents_list(call: Call) -> dict[str, Any]:
    settings = call.services.settings
    rows = [
        AgentRow(**msgspec.structs.asdict(one), model=_model_of(settings, one.id))
        for one in call.services.health.agents()
    ]
    return {
        "defaultId": settings.default_agent, "ownership": "sole", "selectionRequired": False, "mainKey": "main",
        "scope": "per-sender", "agents": rows,
    }  # fmt: skip


def _model_of(settings: Settings, agent_id: str) -> AgentModel:
    agent = settings.agents.entries[agent_id]
    own = agent.runtime.model if isinstance(agent.runtime, ModelRuntime) else None
    names = _references(own or agent.model or settings.agents.defaults.model)
    first, *others = names or [f"peergate/{agent.runtime.__struct_config__.tag}"]
    return AgentModel(first, tuple(others))


def agent_identity(call: Call) -> dict[str, Any]:
    params: AgentIdentity = call.params
    agent_id = agent_of(call, params.agent_id, params.session_key)
    name = call.services.settings.agents.entries[agent_id].name
    return {"agentId": agent_id, "name": name or agent_id, "avatarStatus": "none"}


def models_list(call: Call) -> dict[str, Any]:
    """Every model an agent is configured to use, in the order of the configuration."""
    params: ModelsList = call.params
    settings = call.services.settings
    named = agent_of(call, params.agent_id) if params.agent_id is not None else None
    chosen = [settings.agents.defaults.model]
    for agent_id, entry in settings.agents.entries.items():
        if named in (None, agent_id):
            chosen += [entry.model, entry.runtime.model if isinstance(entry.runtime, ModelRuntime) else None]
    rows = [_model(reference) for reference in dict.fromkeys(word for one in chosen for word in _references(one))]
    return {"models": [row for row in rows if params.provider in (None, row["provider"])]}


def _references(choice: str | ModelChoice | None) -> list[str]:
    if choice is None:
        return []
    return [choice] if isinstance(choice, str) else [choice.primary, *choice.fallbacks]


def _model(reference: str) -> dict[str, str]:
    provider, slash, name = reference.partition("/")
    return (
        {"id": name, "name": name, "provider": provider}
        if slash
        else {"id": reference, "name": reference, "provider": ""}
    )


async def agents_stop(call: Call) -> dict[str, Any]:
    agent, reason = _named(call)
    ended = await call.services.agents.stop(agent, reason or "stopped by an operator")
    return {"ok": True, "agentId": agent, "runIds": ended}


async def agents_restart(call: Call) -> dict[str, Any]:
    agent, reason = _named(call)
    count = await call.services.agents.restart(agent, reason or "restarted by an operator")
    return {"ok": True, "agentId": agent, "workers": count}


def agents_quarantine(call: Call) -> dict[str, Any]:
    agent, reason = _named(call)
    why = reason or "by an operator"
    # Ours first: the supervisor's word comes later, and no run may start in between.
    call.services.agents.quarantined(agent, True, why)
    call.services.supervisor.hold(agent, True, why)
    call.services.agents.stop_workers(agent, why)
    return {"ok": True, "agentId": agent, "quarantined": True}


def agents_release(call: Call) -> dict[str, Any]:
    agent, reason = _named(call)
    # The supervisor first: a run that starts at once must not meet its refusal. The channel keeps the order.
    call.services.supervisor.hold(agent, False, reason or "released by an operator")
    call.services.agents.quarantined(agent, False, reason or "")
    return {"ok": True, "agentId": agent, "quarantined": False}


def _named(call: Call) -> tuple[str, str | None]:
    params: OneAgent = call.params
    return agent_of(call, params.agent_id), params.reason


HANDLERS: dict[str, Handler] = {
    "agents.list": agents_list,
    "agent.identity.get": agent_identity,
    "models.list": models_list,
    "agents.stop": agents_stop,
    "agents.restart": agents_restart,
    "agents.quarantine": agents_quarantine,
    "agents.release": agents_release,
}
