"""Session keys: `agent:<agentId>:<rest>`, compared in lower case (OpenClaw 2026.9.6, session-key-utils).

Owns: how a key is written and read. Nothing else takes a key apart."""

from __future__ import annotations

import re
from typing import NamedTuple

AGENT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_KEY = re.compile(r"agent:(?P<agent>[a-z0-9][a-z0-9_-]{0,63}):(?P<rest>[^\s:][^\s]{0,400})")
_THREAD = re.compile(r"(.+?):(?:thread|topic):.+")


class SessionKey(NamedTuple):
    """A parsed key. `kind` is one of main, subagent, cron, hook, other."""

    agent: str
    rest: str

    def __str__(self) -> str:
        return f"agent:{self.agent}:{self.rest}"

    @property
    def kind(self) -> str:
        head = self.rest.split(":", 1)[0]
        return head if head in ("main", "subagent", "cron", "hook") else "other"

    @property
    def depth(self) -> int:
        """How many sub-agents deep the key itself says it is (a row's own depth, where there is one, outranks this)."""
        return self.rest.split(":").count("subagent")


def parse_key(text: str) -> SessionKey | None:
    """The key in `text`, or None if it is none."""
    match = _KEY.fullmatch(text.strip().lower())
    return SessionKey(match["agent"], match["rest"]) if match else None


def channel_of(key: SessionKey) -> SessionKey | None:
    """The channel's session when `key` is one of a thread in it (…:thread:<id>, …:topic:<id>), else None."""
    match = _THREAD.fullmatch(key.rest)
    return SessionKey(key.agent, match[1]) if match else None


def main_key(agent: str) -> str:
    """An agent's main session."""
    return f"agent:{agent}:main"


def lasting_key(text: str) -> str:
    """A session; instead of one made for a single run of a job, which nobody will ever say anything to again, its
    agent's main session."""
    key = parse_key(text)
    return main_key(key.agent) if key is not None and key.kind == "cron" and ":run:" in key.rest else text


def subagent_key(agent: str, unique: str) -> str:
    """A sub-agent's session; flat at any depth, the depth stands in the row."""
    return f"agent:{agent}:subagent:{unique}"


def is_agent_id(text: str) -> bool:
    """Whether `text` may name an agent."""
    return AGENT_ID.fullmatch(text) is not None
