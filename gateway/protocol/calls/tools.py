"""Rows of the session tools: one method for everybody, and what each tool takes.

For a worker or a tool process the acting session is the principal's: sending `sessionKey` is refused. An operator may
name one. Keys inside `args` are targets, judged from the acting session. Defaults and rules: OpenClaw 2026.9.6,
session tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from gateway.protocol import scopes
from gateway.protocol.calls.row import ABSENT, Count, Inert, Params, Row


class ToolsInvoke(Params, frozen=True):
    """`args` stays raw until the tool is known. `idempotencyKey`: the same key and arguments answer as the first
    did."""

    name: str
    args: msgspec.Raw = msgspec.Raw(b"\x80")
    session_key: str | None = None
    idempotency_key: str | None = None
    agent_id: Inert = ABSENT
    confirm: Inert = ABSENT


class ToolsCatalog(Params, frozen=True):
    agent_id: str | None = None
    include_plugins: Inert = ABSENT


class SessionsSpawn(Params, frozen=True):
    """`task` is what the child is told. Unknown and outdated names are refused by name."""

    task: str
    task_name: str | None = None
    label: str | None = None
    agent_id: str | None = None
    model: str | None = None
    thinking: str | None = None
    cwd: str | None = None
    runtime: str = "subagent"
    run_timeout_seconds: int | None = None
    thread: bool = False
    mode: str = "run"
    cleanup: str = "keep"
    expects_completion_message: bool = True
    completion_target: str | None = None
    sandbox: str = "inherit"
    context: str = "isolated"
    light_context: bool = False


class SessionsSend(Params, frozen=True):
    """`timeoutSeconds` 0 answers at once with `accepted`; `content` and `text` are tolerated names for `message`."""

    message: str | None = None
    content: str | None = None
    text: str | None = None
    session_key: str | None = None
    label: str | None = None
    agent_id: str | None = None
    timeout_seconds: int = 30
    mode: str | None = None
    watch: bool = False


class SessionsListArgs(Params, frozen=True):
    """No session is pinned or archived here. From `relationship` on nothing is done with a parameter; the answer names
    it under `ignored`."""

    kinds: list[str] | None = None
    limit: Count = 100
    offset: Count = 0
    active_minutes: Count | None = None
    active_only: bool = False
    exclude_subagents: bool = False
    label: str | None = None
    agent_id: str | None = None
    search: str | None = None
    message_limit: Count = 0
    include_last_message: bool = False
    pinned: bool | None = None
    archived: bool | Literal["all"] | None = None
    relationship: Literal["owned", "created", "involving"] | None = None
    owner_id: str | None = None
    creator_id: str | None = None
    project_id: str | None = None
    workspace_dir: str | None = None
    group: str | None = None
    include_derived_titles: bool = False


class SessionsHistoryArgs(Params, frozen=True):
    """Nothing is done with `pendingBefore`, `messageId` and `sessionId`; the answer names them under `ignored`."""

    session_key: str
    limit: Count = 50
    offset: Count = 0
    include_tools: bool = False
    pending_before: str | Count | None = None
    message_id: str | None = None
    session_id: str | None = None


class SessionStatusArgs(Params, frozen=True):
    """Nothing is done with `model` and `changesSince`; the answer names them under `ignored`."""

    session_key: str | None = None
    model: str | None = None
    changes_since: str | Count | None = None


class SubagentsArgs(Params, frozen=True):
    """`wait` waits until one of `taskIds` (all children when none is named) has finished, and takes its result."""

    action: str = "list"
    recent_minutes: Count = 30
    task_id: str | None = None
    task_ids: list[str] | None = None
    timeout_seconds: float = 30


class AgentsListArgs(Params, frozen=True):
    pass


@dataclass(frozen=True, slots=True)
class Tool:
    """One session tool: what it takes, the operator scope of the equivalent call, whether repeating it is safe, and
    what it is for."""

    name: str
    params: type[Params]
    scope: str
    effect: str
    summary: str
    waits: bool = False


TOOLS = (
    Tool(
        "sessions_spawn",
        SessionsSpawn,
        scopes.WRITE,
        "idempotent",
        "Start a sub-agent; its result is delivered to the session that started it.",
    ),
    Tool(
        "sessions_send",
        SessionsSend,
        scopes.WRITE,
        "idempotent",
        "Send a message to another session, and wait for its reply.",
        waits=True,
    ),
    Tool("sessions_list", SessionsListArgs, scopes.READ, "pure", "List sessions within reach."),
    Tool("sessions_history", SessionsHistoryArgs, scopes.READ, "pure", "Read a session's transcript."),
    Tool("session_status", SessionStatusArgs, scopes.READ, "pure", "One session's state."),
    Tool(
        "subagents",
        SubagentsArgs,
        scopes.WRITE,
        "idempotent",
        "List, await or cancel the sub-agents this session started.",
        waits=True,
    ),
    Tool("agents_list", AgentsListArgs, scopes.READ, "pure", "The agents a sub-agent may be started of."),
)
BY_NAME = {tool.name: tool for tool in TOOLS}

# An operator passes the row with read; each tool then asks for its own scope.
ROWS = (
    Row("tools.invoke", scopes.SESSION, "Use a session tool.", ToolsInvoke, waits=True, or_scope=scopes.READ),
    Row("tools.catalog", scopes.READ, "The session tools there are.", ToolsCatalog),
)
