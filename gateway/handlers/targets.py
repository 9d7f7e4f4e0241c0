"""Which session a caller means. Owns how a session is named in the parameters of a call; no rules beyond that."""

from __future__ import annotations

from gateway.protocol.errors import invalid
from gateway.protocol.keys import main_key, parse_key
from gateway.router import Call


def key_of(call: Call, text: str, agent_id: str | None = None) -> str:
    """The session key in `text`; bare `main` is the main session of `agentId`, or of the default agent. Raises Refusal
    for what is no key, and for a key of another agent than the one named."""
    word = text.strip().lower()
    if word == "main":
        word = main_key(_agent(call, agent_id))
    key = parse_key(word)
    if key is None:
        raise invalid(f'"{text[:128]}" is no session key; it looks like agent:main:main')
    if agent_id is not None and agent_id.strip().lower() != key.agent:
        raise invalid(f'agentId "{agent_id[:64]}" is not the agent of the session {key}')
    return str(key)


def main_of(call: Call, agent_id: str | None) -> str:
    """The main session of an agent, or of the default one."""
    return key_of(call, main_key(_agent(call, agent_id)))


def agent_of(call: Call, agent_id: str | None, session_key: str | None = None) -> str:
    """The configured agent that is named, or whose session is; neither: the default one. Raises Refusal for one that
    is not configured."""
    named = key_of(call, session_key, agent_id).split(":")[1] if session_key is not None else _agent(call, agent_id)
    entries = call.services.settings.agents.entries
    if named not in entries:
        raise invalid(
            f'unknown agent id "{named[:64]}"; configured: {", ".join(sorted(entries))}',
            code="UNKNOWN_AGENT_ID", agentId=named[:64],
        )  # fmt: skip
    return named


def _agent(call: Call, agent_id: str | None) -> str:
    return agent_id.strip().lower() if agent_id is not None else call.services.settings.default_agent
