"""Who may see, message and start whom: the rules of the session tools, pure.

Owns: every "forbidden" answer of a session tool and its words. Each names the configuration key that would allow it.
Rules and defaults: OpenClaw 2026.9.6 (session visibility, agent-to-agent policy, child admission)."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Sequence

import msgspec

from gateway.protocol.keys import SessionKey
from gateway.protocol.limits import MAX_LABEL_CHARS

TASK_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of controls, lone surrogates and line breaks."""
RESERVED_TASK_NAMES = frozenset({"all", "last"})
VERBS = {"send": "Session send", "list": "Session list", "history": "Session history", "status": "Session status"}


class Denied(msgspec.Struct, frozen=True):
    """A refusal: `code` for programs, `text` for people."""

    code: str
    text: str


class AgentToAgent(msgspec.Struct, frozen=True):
    """`tools.agentToAgent`. `allow` None or empty means any; a list of only blanks means nobody."""

    enabled: bool
    allow: Sequence[str] | None

    def matches(self, agent: str) -> bool:
        """Whether one side may take part: exact and case-sensitive, or a case-insensitive glob where the entry has a
        `*`."""
        if not self.allow:
            return True
        entries = [entry.strip() for entry in self.allow if entry.strip()]
        return any(
            fnmatch.fnmatchcase(agent.lower(), entry.lower()) if "*" in entry else entry == agent for entry in entries
        )


class Reach(msgspec.Struct, frozen=True):
    """The facts a visibility decision needs. `descendant`: the target was spawned by the requester, directly or not;
    it is within reach of everything but `self`."""

    visibility: str
    agent_to_agent: AgentToAgent
    descendant: bool


def judge_access(action: str, requester: SessionKey, target: SessionKey, reach: Reach) -> Denied | None:
    """Why `requester` may not do `action` (send, list, history, status) to `target`; None when it may."""
    if requester == target or (reach.descendant and reach.visibility != "self"):
        return None
    if requester.agent != target.agent and not reach.descendant:
        return _judge_other_agent(action, requester, target, reach)
    if reach.visibility in ("all", "agent"):
        return None
    if reach.visibility == "tree" and requester.rest == "main":
        return None  # an agent's main session sees every session of that agent
    wider = '"tree", "agent" or "all"' if reach.descendant else '"agent" or "all"'
    return Denied(
        f"{reach.visibility}_visibility_restricted",
        f"{VERBS[action]} is restricted to "
        f"{'the session itself' if reach.visibility == 'self' else 'the session and what it spawned'} "
        f'(tools.sessions.visibility="{reach.visibility}"). '
        f"Set tools.sessions.visibility to {wider} to reach {target}.",
    )


def _judge_other_agent(action: str, requester: SessionKey, target: SessionKey, reach: Reach) -> Denied | None:
    policy = reach.agent_to_agent
    if reach.visibility != "all":
        return Denied(
            "cross_agent_visibility_restricted",
            f'{VERBS[action]} is restricted to agent "{requester.agent}" '
            f'(tools.sessions.visibility="{reach.visibility}"). '
            f'Set tools.sessions.visibility to "all" to reach other agents.',
        )
    if not policy.enabled:
        return Denied(
            "agent_to_agent_disabled",
            "Agent-to-agent messaging is disabled. Set tools.agentToAgent.enabled to true to allow it.",
        )
    missing = [agent for agent in (requester.agent, target.agent) if not policy.matches(agent)]
    if missing:
        names = " and ".join(f'"{agent}"' for agent in missing)
        return Denied(
            "agent_to_agent_not_allowed",
            f"Agent-to-agent messaging denied by tools.agentToAgent.allow. Add {names} to tools.agentToAgent.allow; "
            "both sides must be in it.",
        )
    return None


class Admission(msgspec.Struct, frozen=True):
    """The facts a spawn decision needs. `allow_agents` None means only the requester's own agent."""

    requester: SessionKey
    target_agent: str
    named: bool
    configured: Sequence[str]
    allow_agents: Sequence[str] | None
    require_agent_id: bool
    depth: int
    max_depth: int
    children: int
    max_children: int


def judge_spawn(facts: Admission) -> Denied | None:
    """Why this child may not be started, in OpenClaw's order of checks; None when it may."""
    if facts.depth >= facts.max_depth:
        return Denied(
            "max_spawn_depth",
            f"sessions_spawn is not allowed at this depth (current depth: {facts.depth}, max: {facts.max_depth}). "
            "Raise agents.defaults.subagents.maxSpawnDepth (1 to 5).",
        )
    if facts.children >= facts.max_children:
        return Denied(
            "max_children",
            f"sessions_spawn has reached max active children for this session ({facts.children}/{facts.max_children}). "
            "Wait for one to finish, or raise agents.defaults.subagents.maxChildrenPerAgent (1 to 1000).",
        )
    if facts.require_agent_id and not facts.named:
        return Denied(
            "agent_id_required",
            "sessions_spawn requires an explicit agentId here (agents.defaults.subagents.requireAgentId is true). "
            f"Allowed: {_names(facts.configured)}.",
        )
    if facts.target_agent not in facts.configured:
        return Denied(
            "unknown_agent",
            f'agentId "{facts.target_agent}" is not in the configured agent registry '
            f"(allowed: {_names(facts.configured)}); add it under agents.entries",
        )
    own = facts.target_agent == facts.requester.agent
    allowed = list(facts.allow_agents) if facts.allow_agents is not None else [facts.requester.agent]
    if not (own and facts.allow_agents is None) and "*" not in allowed and facts.target_agent not in allowed:
        return Denied(
            "agent_not_allowed",
            f'agentId "{facts.target_agent}" is not allowed for sessions_spawn (allowed: {_names(allowed) or "none"}). '
            f"Add it to agents.entries.{facts.requester.agent}.subagents.allowAgents.",
        )
    return None


SUBAGENT_DENIED = frozenset({"agents_list", "cron", "session_status", "sessions_send"})
"""What no sub-agent may use by default."""
LEAF_DENIED = frozenset({"subagents", "sessions_list", "sessions_history", "sessions_spawn"})
"""What one at the greatest depth may not use either: it has no children."""


class ToolUse(msgspec.Struct, frozen=True):
    """The facts that decide whether a session may use a tool: how deep it is (0: no sub-agent) of how deep at most, and
    `tools.subagents.tools`."""

    tool: str
    depth: int
    max_depth: int
    allow: Sequence[str] = ()
    deny: Sequence[str] = ()


def judge_tool(use: ToolUse) -> Denied | None:
    """Why a sub-agent may not use a session tool; None when it may. `deny` outranks `allow`, that the defaults."""
    if use.depth == 0:
        return None
    if _any_matches(use.tool, use.deny):
        return Denied(
            "subagent_tool_denied",
            f"{use.tool} is denied to sub-agents by tools.subagents.tools.deny. Take it out there"
            f"{'' if _by_default(use) else ' and add it to tools.subagents.tools.allow'} to allow it.",
        )
    if _by_default(use) or _any_matches(use.tool, use.allow):
        return None
    who = f"a sub-agent at the greatest depth ({use.depth})" if use.tool in LEAF_DENIED else "a sub-agent"
    deeper = "raise agents.defaults.subagents.maxSpawnDepth (1 to 5)" if use.tool in LEAF_DENIED else ""
    listed = f'add "{use.tool}" to tools.subagents.tools.allow'
    return Denied(
        "subagent_tool",
        f"{use.tool} is not for {who}. To allow it, {' or '.join(filter(None, (listed, deeper)))}.",
    )


def _by_default(use: ToolUse) -> bool:
    return use.tool not in SUBAGENT_DENIED and not (use.tool in LEAF_DENIED and use.depth >= use.max_depth)


def _any_matches(tool: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(tool, pattern.strip().lower()) for pattern in patterns)


def judge_task_name(name: str) -> str | None:
    """What is wrong with a task name; None when nothing is."""
    if name in RESERVED_TASK_NAMES:
        return f'taskName "{name}" is reserved (all and last are); choose another'
    if not TASK_NAME.fullmatch(name):  # $ would let a newline follow
        return (
            f'taskName "{name}" must match ^[a-z][a-z0-9_-]{{0,63}}$: a lower-case letter, then letters, digits, _ or -'
        )
    return None


def judge_label(label: str) -> str | None:
    """What is wrong with a label; None when nothing is."""
    if not label.strip():
        return "label must not be empty; leave it out if there is none"
    if len(label) > MAX_LABEL_CHARS:
        return f"label has {len(label)} characters, at most {MAX_LABEL_CHARS} are allowed"
    if any(unicodedata.category(character) in _UNSEEN for character in label):
        return f"label {ascii(label)[:80]} has a control character or a line break in it; write plain text"
    return None


def _names(agents: Sequence[str]) -> str:
    return ", ".join(sorted(agents))
