"""Rows about sessions: list, find, read, make, change, end, and hear of them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, UnsetType

from gateway.protocol import scopes
from gateway.protocol.calls.row import ABSENT, Count, Inert, Params, Result, Row

MAX_PREVIEWS = 64
"""Sessions one call may ask a preview of."""


class SessionsList(Params, frozen=True):
    """Filters are joined by and. `activeMinutes` counts from the last update. No session is pinned or archived here."""

    agent_id: str | None = None
    spawned_by: str | None = None
    active_minutes: Count | None = None
    active_only: bool = False
    exclude_subagents: bool = False
    exclude_cron: bool = False
    configured_agents_only: bool = False
    include_derived_titles: bool = False
    include_last_message: bool = False
    label: str | None = None
    search: str | None = None
    limit: Count = 100
    offset: Count = 0
    pinned: bool | None = None
    archived: bool | Literal["all"] | None = None
    require_last_interaction: Inert = ABSENT
    sort_by: Inert = ABSENT
    include_global: Inert = ABSENT
    include_unknown: Inert = ABSENT
    exclude_system: Inert = ABSENT
    include_activity_summary: Inert = ABSENT
    project_id: Inert = ABSENT
    workspace_dir: Inert = ABSENT
    group: Inert = ABSENT
    board_face: Inert = ABSENT
    has_board: Inert = ABSENT
    creator_id: Inert = ABSENT
    owner_id: Inert = ABSENT
    owner_first: Inert = ABSENT
    involving_me: Inert = ABSENT
    profile_relation: Inert = ABSENT
    involving_profile_id: Inert = ABSENT
    include_people: Inert = ABSENT


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
    display_name: str | None = None
    derived_title: str | None = None
    last_message_preview: str | None = None
    task_name: str | None = None
    spawned_by: str | None = None
    parent_session_key: str | None = None
    spawn_depth: int = 0
    last_run_id: str | None = None
    last_run_error: str | None = None
    has_active_run: bool = False


class OneSession(Params, frozen=True):
    key: str
    include_derived_titles: bool = False
    include_last_message: bool = False


class SessionsResolve(Params, frozen=True):
    """Which session is meant: by key, session id, the beginning of one (`shortId`), label, or `reference`, which may be
    any of them. `allowMissing`: answer `ok: false` instead of an error when there is none, or not one alone."""

    key: str | None = None
    session_id: str | None = None
    label: str | None = None
    reference: str | None = None
    short_id: str | None = None
    agent_id: str | None = None
    spawned_by: str | None = None
    allow_missing: bool = False
    slug_hint: Inert = ABSENT
    include_global: Inert = ABSENT
    include_unknown: Inert = ABSENT


class SessionsPreview(Params, frozen=True):
    """The last `limit` messages of each session, texts cut at `maxChars`."""

    keys: Annotated[list[str], Meta(max_length=MAX_PREVIEWS)]
    limit: Count = 12
    max_chars: Count = 240


class SessionReset(Params, frozen=True):
    """`reason` new or reset, as OpenClaw's clients say; both mean the same. `expectedSessionId`: refused when the
    session is another one by now."""

    key: str
    reason: Literal["new", "reset"] | None = None
    expected_session_id: str | None = None
    agent_id: Inert = ABSENT


class SessionPatch(Params, frozen=True):
    """`label` is set, or taken away by null; no two sessions may have the same. What else a client sets is not kept:
    the answer names it under `ignored`."""

    key: str
    agent_id: str | None = None
    expected_session_id: str | None = None
    label: str | UnsetType | None = UNSET
    permission_mode: str | UnsetType | None = UNSET
    expected_lifecycle_revision: Inert = ABSENT
    expected_label: Inert = ABSENT
    expected_archived: Inert = ABSENT
    expected_model: Inert = ABSENT
    auto_label: Inert = ABSENT
    icon: Inert = ABSENT
    color: Inert = ABSENT
    category: Inert = ABSENT
    board_face: Inert = ABSENT
    board_presentation: Inert = ABSENT
    status_note: Inert = ABSENT
    archived: Inert = ABSENT
    pinned: Inert = ABSENT
    unread: Inert = ABSENT
    thinking_level: Inert = ABSENT
    fast_mode: Inert = ABSENT
    verbose_level: Inert = ABSENT
    trace_level: Inert = ABSENT
    reasoning_level: Inert = ABSENT
    response_usage: Inert = ABSENT
    elevated_level: Inert = ABSENT
    exec_host: Inert = ABSENT
    exec_security: Inert = ABSENT
    exec_ask: Inert = ABSENT
    exec_node: Inert = ABSENT
    model: Inert = ABSENT
    agent_runtime: Inert = ABSENT
    send_policy: Inert = ABSENT
    group_activation: Inert = ABSENT


class SessionDelete(Params, frozen=True):
    """A session goes with its transcript and state. `archivedOnly`: only if it is archived, and none is."""

    key: str
    agent_id: str | None = None
    delete_transcript: bool = True
    expected_session_id: str | None = None
    archived_only: bool = False
    expected_lifecycle_revision: Inert = ABSENT
    emit_lifecycle_hooks: Inert = ABSENT


class SessionCreate(Params, frozen=True):
    """A new session, or the one that has this key already; with `message` (or `task`) its first run is started.
    `idempotencyKey`: the same key answers as the first call did. What is named last is not kept."""

    key: str | None = None
    idempotency_key: str | None = None
    agent_id: str | None = None
    label: str | None = None
    message: str | None = None
    task: str | None = None
    timeout_ms: Count | None = None
    attachments: tuple[Raw, ...] | None = None
    incognito: bool = False
    fork: bool = False
    fork_from: Raw = ABSENT
    exec_node: Raw = ABSENT
    display_name: Inert = ABSENT
    model: Inert = ABSENT
    thinking_level: Inert = ABSENT
    parent_session_key: Inert = ABSENT
    emit_command_hooks: Inert = ABSENT
    succeeds_parent: Inert = ABSENT
    cwd: Inert = ABSENT
    visibility: Inert = ABSENT
    permission_mode: Inert = ABSENT


class SessionSend(Params, frozen=True):
    """A message to a session there is; its run's id is the idempotency key. Answers when it is on disk."""

    key: str
    message: str
    agent_id: str | None = None
    idempotency_key: str | None = None
    timeout_ms: Count | None = None
    attachments: tuple[Raw, ...] | None = None
    thinking: Inert = ABSENT


class SessionAbort(Params, frozen=True):
    """End a session's run, or one run by its id, with what it started. `clearQueued`: messages that wait as well."""

    key: str | None = None
    run_id: str | None = None
    agent_id: str | None = None
    clear_queued: bool = False


class SessionMessages(Params, frozen=True):
    """Whose transcript, tools and runs to hear of."""

    key: str
    agent_id: str | None = None
    include_approvals: Inert = ABSENT


_ENVELOPE = {"key", "agent_id"}
_ORDINARY = {
    "label", "auto_label", "icon", "color", "category", "board_face", "board_presentation", "pinned", "archived",
    "unread", "model", "agent_runtime", "thinking_level", "fast_mode", "permission_mode",
}  # fmt: skip


def patch_scope(patch: SessionPatch) -> str:
    """What decides how a session looks needs write; what decides what it may do needs admin."""
    sent = {name for name in patch.__struct_fields__ if getattr(patch, name) not in (None, UNSET, ABSENT)}
    sent |= {"label"} if patch.label is None else set()
    plain = all(name in _ENVELOPE | _ORDINARY or name.startswith("expected_") for name in sent)
    return scopes.WRITE if plain and patch.permission_mode != "full" else scopes.ADMIN


def delete_scope(delete: SessionDelete) -> str:
    """Taking away what somebody put away already needs less."""
    return scopes.WRITE if delete.archived_only else scopes.ADMIN


def create_scope(create: SessionCreate) -> str:
    """A session nobody sees, or one on another machine, is an administrator's."""
    return scopes.ADMIN if create.incognito or create.exec_node != ABSENT else scopes.WRITE


ROWS = (
    Row("sessions.list", scopes.READ, "Sessions, newest first.", SessionsList),
    Row("sessions.describe", scopes.READ, "One session's row, or null.", OneSession),
    Row("sessions.resolve", scopes.READ, "Which session is meant.", SessionsResolve, hidden=True),
    Row("sessions.preview", scopes.READ, "The last words of several sessions.", SessionsPreview),
    Row("sessions.create", scopes.WRITE, "Make a session.", SessionCreate, scope_for=create_scope),
    Row("sessions.send", scopes.WRITE, "Send a message to a session.", SessionSend),
    Row("sessions.abort", scopes.WRITE, "Abort a session's run and what it started.", SessionAbort),
    Row("sessions.patch", scopes.WRITE, "Change a session's row.", SessionPatch, scope_for=patch_scope),
    Row("sessions.reset", scopes.ADMIN, "Begin a session anew: its transcript and state go.", SessionReset),
    Row("sessions.delete", scopes.WRITE, "Remove a session.", SessionDelete, scope_for=delete_scope),
    Row("sessions.subscribe", scopes.READ, "Hear of every session on this connection."),
    Row("sessions.unsubscribe", scopes.READ, "Hear of sessions no more."),
    Row("sessions.messages.subscribe", scopes.READ, "Hear of one session on this connection.", SessionMessages),
    Row("sessions.messages.unsubscribe", scopes.READ, "Hear of it no more.", SessionMessages),
)
