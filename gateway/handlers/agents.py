"""Agents: which there are, and holding one of them alone."""

from __future__ import annotations

from typing import Any

from gateway.protocol.calls.agents import OneAgent
from gateway.protocol.calls.system import AgentSummary
from gateway.protocol.errors import invalid
from gateway.router import Call, Handler
from gateway.services import Services


def summaries(services: Services) -> list[AgentSummary]:
    """Every configured agent in one line."""
    default = services.settings.default_agent
    return [
        AgentSummary(
            id=agent_id,
            runtime=str(agent.runtime.__struct_config__.tag),
            name=agent.name,
            is_default=agent_id == default,
            quarantined=services.runs.is_quarantined(agent_id),
            stopped=services.runs.is_stopped(agent_id),
            workers=services.workers.of_agent(agent_id),
        )
        for agent_id, agent in services.settings.agents.entries.items()
    ]


def agents_list(call: Call) -> dict[str, Any]:
    return {"defaultId": call.services.settings.default_agent, "agents": summaries(call.services)}


async def agents_stop(call: Call) -> dict[str, Any]:
    agent, reason = _named(call)
    ended = await call.services.runs.stop_agent(agent, reason or "stopped by an operator")
    return {"ok": True, "agentId": agent, "runIds": ended}


def agents_restart(call: Call) -> dict[str, Any]:
    agent, reason = _named(call)
    count = call.services.runs.stop_workers(agent, reason or "restarted by an operator")
    return {"ok": True, "agentId": agent, "workers": count}


def agents_quarantine(call: Call) -> dict[str, Any]:
    agent, reason = _named(call)
    why = reason or "by an operator"
    # Ours first: the supervisor's word comes later, and no run may start in between.
    call.services.runs.quarantined(agent, True, why)
    call.services.supervisor.hold(agent, True, why)
    call.services.runs.stop_workers(agent, why)
    return {"ok": True, "agentId": agent, "quarantined": True}


def agents_release(call: Call) -> dict[str, Any]:
    agent, reason = _named(call)
    # The supervisor first: a run that starts at once must not meet its refusal. The channel keeps the order.
    call.services.supervisor.hold(agent, False, reason or "released by an operator")
    call.services.runs.quarantined(agent, False, reason or "")
    return {"ok": True, "agentId": agent, "quarantined": False}


def _named(call: Call) -> tuple[str, str | None]:
    params: OneAgent = call.params
    entries = call.services.settings.agents.entries
    if params.agent_id not in entries:
        raise invalid(f'unknown agent id "{params.agent_id[:64]}"; configured: {", ".join(sorted(entries))}')
    return params.agent_id, params.reason


HANDLERS: dict[str, Handler] = {
    "agents.list": agents_list,
    "agents.stop": agents_stop,
    "agents.restart": agents_restart,
    "agents.quarantine": agents_quarantine,
    "agents.release": agents_release,
}
