"""Rows of the session tools: one method for everybody, and what each tool takes.

For a worker or a tool process the acting session is the principal's: sending `sessionKey` is refused. An operator may
name one. Keys inside `args` are targets, judged from the acting session. Defaults and rules: OpenClaw 2026.9.6,
session tools."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.protocol import scopes
from gateway.protocol.calls.cron import JobPatch, Name
from gateway.protocol.calls.row import ABSENT, Count, Inert, Params, Row
from gateway.protocol.cron import Key, Short, Wish, Words


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


class CronArgs(Params, frozen=True, kw_only=True):
    """`action`: status, list, get, add, update, remove, run, runs or wake; the other parameters are those of the method
    of that name. `schedule.at` of `job` and `patch` may also be a time from now, such as 20m. `contextMessages`: so
    many of the session's last messages are added to a `systemEvent`. `runMode` is what `mode` is to `run`."""

    action: Annotated[str, msgspec.Meta(max_length=64)]
    job: Wish | None = None
    patch: JobPatch | None = None
    id: Name | None = None
    job_id: Name | None = None
    mode: Literal["due", "force", "if-enabled", "now", "next-heartbeat"] | None = None
    run_mode: Literal["due", "force", "if-enabled"] | None = None
    text: Words | None = None
    context_messages: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0
    expected_config_revision: Key | None = None
    include_disabled: bool = False
    enabled: Literal["all", "enabled", "disabled"] | None = None
    query: Short | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    offset: Count = 0
    sort_by: Literal["nextRunAtMs", "updatedAtMs", "name"] = "nextRunAtMs"
    sort_dir: Literal["asc", "desc"] | None = None
    status: Literal["all", "ok", "error", "skipped"] = "all"
    run_id: Key | None = None
    session_key: Key | None = None
    agent_id: Key | None = None
    gateway_url: Inert = ABSENT
    gateway_token: Inert = ABSENT
    timeout_ms: Inert = ABSENT


class Tool(msgspec.Struct, frozen=True):
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
    # An operator needs for it what most of its actions need as methods; those that read have methods of their own.
    Tool("cron", CronArgs, scopes.ADMIN, "idempotent", "Jobs that run by the clock, reminders; the agent's own."),
)
BY_NAME = {tool.name: tool for tool in TOOLS}

# An operator passes the row with read; each tool then asks for its own scope.
ROWS = (
    Row("tools.invoke", scopes.SESSION, "Use a session tool.", ToolsInvoke, waits=True, or_scope=scopes.READ),
    Row("tools.catalog", scopes.READ, "The session tools there are.", ToolsCatalog),
)
