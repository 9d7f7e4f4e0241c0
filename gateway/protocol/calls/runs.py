"""Rows about runs: start one, wait for it, list them."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw

from gateway.protocol import scopes
from gateway.protocol.calls.row import ABSENT, Count, Inert, Params, Result, Row
from gateway.protocol.run_states import RunState

_RESET = re.compile(r"\s*/(?:new|reset)(?:\s+(.*))?", re.DOTALL | re.IGNORECASE)


class RunsList(Params, frozen=True):
    """Newest first. `spawnedBy` is the parent's session key; `unfinished`: only those that have not ended."""

    session_key: str | None = None
    agent_id: str | None = None
    spawned_by: str | None = None
    state: RunState | None = None
    unfinished: bool = False
    limit: Count = 100
    offset: Count = 0


class RunRow(Result, frozen=True):
    """One run. `workerPid` and `workerStart` (clock ticks since boot) are the kernel's, read when the worker was
    accepted. `waits`: why it waits for its agent (in quarantine, stopped), or why a sub-agent's result waits longer
    than it should."""

    run_id: str
    session_key: str
    agent_id: str
    state: str
    lane: str
    attempt: int
    created_at: int
    started_at: int | None = None
    ended_at: int | None = None
    parent_session_key: str | None = None
    worker_pid: int | None = None
    worker_start: int | None = None
    text: str | None = None
    error: str | None = None
    stop_reason: str | None = None
    waits: str | None = None


class Agent(Params, frozen=True):
    """Send a message to a session and run a turn; the run's id is the idempotency key. A message that begins with
    `/new` or `/reset` begins the session anew first, which only an administrator may."""

    message: str
    idempotency_key: str
    agent_id: str | None = None
    session_key: str | None = None
    session_id: str | None = None
    timeout: int | None = None
    label: str | None = None
    attachments: tuple[Raw, ...] | None = None
    provider: Inert = ABSENT
    model: Inert = ABSENT
    to: Inert = ABSENT
    reply_to: Inert = ABSENT
    expected_existing_session_id: Inert = ABSENT
    thinking: Inert = ABSENT
    deliver: Inert = ABSENT
    channel: Inert = ABSENT
    reply_channel: Inert = ABSENT
    account_id: Inert = ABSENT
    reply_account_id: Inert = ABSENT
    thread_id: Inert = ABSENT
    group_id: Inert = ABSENT
    group_channel: Inert = ABSENT
    group_space: Inert = ABSENT
    best_effort_deliver: Inert = ABSENT
    lane: Inert = ABSENT
    cwd: Inert = ABSENT
    cleanup_bundle_mcp_on_run_end: Inert = ABSENT
    model_run: Inert = ABSENT
    prompt_mode: Inert = ABSENT
    extra_system_prompt: Inert = ABSENT
    bootstrap_context_mode: Inert = ABSENT
    bootstrap_context_run_kind: Inert = ABSENT
    acp_turn_source: Inert = ABSENT
    internal_runtime_handoff_id: Inert = ABSENT
    internal_execution_identity_retry: Inert = ABSENT
    internal_execution_identity_recovery_attempt: Inert = ABSENT
    exec_approval_followup_expected_session_id: Inert = ABSENT
    internal_events: Inert = ABSENT
    input_provenance: Inert = ABSENT
    suppress_prompt_persistence: Inert = ABSENT
    session_effects: Inert = ABSENT
    source_reply_delivery_mode: Inert = ABSENT
    disable_message_tool: Inert = ABSENT
    swarm_collector: Inert = ABSENT
    swarm_output_schema: Inert = ABSENT
    force_restart_safe_tools: Inert = ABSENT
    force_code_mode_tools: Inert = ABSENT
    voice_wake_trigger: Inert = ABSENT


class AgentWait(Params, frozen=True):
    run_id: str
    timeout_ms: Count = 30_000


class RunResult(Result, frozen=True):
    """How a run stands. `status` is ok, error, timeout or pending; `pending` means the wait ended and the run goes
    on. `waits`: why one that is queued waits for its agent."""

    run_id: str
    status: str
    session_key: str | None = None
    state: str | None = None
    started_at: int | None = None
    ended_at: int | None = None
    error: str | None = None
    stop_reason: str | None = None
    reply: str | None = None
    waits: str | None = None


def after_reset(message: str) -> str | None:
    """What follows `/new` or `/reset` at the beginning of a message; None when it does not begin so."""
    found = _RESET.fullmatch(message)
    return (found[1] or "").strip() if found else None


def agent_scope(agent: Agent) -> str:
    """Beginning a session anew loses what was said in it."""
    return scopes.WRITE if after_reset(agent.message) is None else scopes.ADMIN


ROWS = (
    Row("runs.list", scopes.READ, "Runs with their worker's pid and times.", RunsList, result=dict[str, Any]),
    Row(
        "agent", scopes.WRITE, "Send a message and run a turn: answers `accepted`, then the result.", Agent, waits=True,
        scope_for=agent_scope,
    ),
    Row("agent.wait", scopes.WRITE, "Wait for a run.", AgentWait, result=RunResult, waits=True),
)  # fmt: skip
