"""Rows about sessions and runs: list, read, start, wait, abort."""

from __future__ import annotations

from typing import Any, Literal

from gateway.protocol import scopes
from gateway.protocol.calls.row import Count, Params, Result, Row


class SessionsList(Params, frozen=True):
    """Filters are joined by and. `activeMinutes` counts from the last update."""

    agent_id: str | None = None
    spawned_by: str | None = None
    active_minutes: Count | None = None
    label: str | None = None
    search: str | None = None
    limit: Count = 100
    offset: Count = 0


class SessionRow(Result, frozen=True):
    """One session as clients see it. Times are milliseconds since the epoch."""

    key: str
    session_id: str
    agent_id: str
    kind: str
    status: str
    updated_at: int
    created_at: int
    label: str | None = None
    task_name: str | None = None
    spawned_by: str | None = None
    spawn_depth: int = 0
    last_run_id: str | None = None
    last_run_error: str | None = None
    has_active_run: bool = False


class ChatHistory(Params, frozen=True):
    session_key: str
    limit: Count = 200
    offset: Count = 0


class RunsList(Params, frozen=True):
    """Newest first. `spawnedBy` is the parent's session key."""

    session_key: str | None = None
    spawned_by: str | None = None
    state: str | None = None
    limit: Count = 100
    offset: Count = 0


class RunRow(Result, frozen=True):
    """One run. `workerPid` and `workerStart` (clock ticks since boot) are the kernel's, read when the worker was
    accepted. `waits`: why a sub-agent's result waits longer than it should."""

    run_id: str
    session_key: str
    agent_id: str
    state: str
    lane: str
    attempt: int
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    parent_session_key: str | None = None
    worker_pid: int | None = None
    worker_start: int | None = None
    text: str | None = None
    error: str | None = None
    stop_reason: str | None = None
    waits: str | None = None


class Agent(Params, frozen=True):
    """Send a message to a session and run a turn; the run's id is the idempotency key."""

    message: str
    idempotency_key: str
    agent_id: str | None = None
    session_key: str | None = None
    timeout: int | None = None
    label: str | None = None


class AgentWait(Params, frozen=True):
    run_id: str
    timeout_ms: Count = 30_000


class RunResult(Result, frozen=True):
    """How a run stands. `status` is ok, error, timeout or pending; `pending` means the wait ended and the run goes
    on."""

    run_id: str
    status: str
    session_key: str | None = None
    state: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    error: str | None = None
    stop_reason: str | None = None
    reply: str | None = None


class ChatAbort(Params, frozen=True):
    session_key: str | None = None
    run_id: str | None = None
    reason: str | None = None


class OneSession(Params, frozen=True):
    key: str


class SessionReset(Params, frozen=True):
    """`reason` new or reset, as OpenClaw's clients say; both mean the same."""

    key: str
    reason: Literal["new", "reset"] | None = None


ROWS = (
    Row("sessions.list", scopes.READ, "Sessions, newest first.", SessionsList),
    Row("sessions.describe", scopes.READ, "One session's row, or null.", OneSession),
    Row("sessions.reset", scopes.ADMIN, "Begin a session anew: its transcript and state go.", SessionReset),
    Row("chat.history", scopes.READ, "A session's transcript, oldest first within the page.", ChatHistory),
    Row("runs.list", scopes.READ, "Runs with their worker's pid and times.", RunsList, result=dict[str, Any]),
    Row(
        "agent", scopes.WRITE, "Send a message and run a turn: answers `accepted`, then the result.", Agent, waits=True
    ),
    Row("agent.wait", scopes.WRITE, "Wait for a run.", AgentWait, result=RunResult, waits=True),
    Row("chat.abort", scopes.WRITE, "Abort a session's run and what it started.", ChatAbort),
)
