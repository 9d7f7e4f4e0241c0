"""Rows of a conversation as OpenClaw's clients hold it: read it, say something, stop the answer."""

from __future__ import annotations

from typing import Literal

from msgspec import Raw

from gateway.protocol import scopes
from gateway.protocol.calls.row import ABSENT, Count, Inert, Params, Row


class ChatHistory(Params, frozen=True):
    """A page, oldest message first; `offset` counts back from the newest. With `cursor` (`deltaCursor` of an earlier
    answer) what was said since, or `kind: reset` when the session has begun anew. Texts are cut at `maxChars`."""

    session_key: str
    agent_id: str | None = None
    cursor: str | None = None
    limit: Count = 200
    offset: Count = 0
    max_chars: Count | None = None
    max_bytes: Inert = ABSENT
    pending_before: Inert = ABSENT
    input_run_ids: Inert = ABSENT
    message_id: Inert = ABSENT
    session_id: Inert = ABSENT


class ChatSend(Params, frozen=True):
    """Say something; the run's id is the idempotency key. Answers when it is on disk: `started`, or for a key that was
    used before how that run stands. `queueMode` while a run is in progress: steer (the default) gives it the message
    if it reads messages and no older one of the same sender waits, followup and collect wait for its end, interrupt
    aborts it first. A message of only `/stop` aborts."""

    session_key: str
    message: str
    idempotency_key: str
    agent_id: str | None = None
    queue_mode: Literal["steer", "followup", "collect", "interrupt"] | None = None
    attachments: tuple[Raw, ...] | None = None
    timeout_ms: Count | None = None
    suppress_command_interpretation: bool = False
    session_id: Inert = ABSENT
    thinking: Inert = ABSENT
    fast_mode: Inert = ABSENT
    deliver: Inert = ABSENT
    originating_channel: Inert = ABSENT
    originating_to: Inert = ABSENT
    originating_account_id: Inert = ABSENT
    originating_thread_id: Inert = ABSENT
    reply_to_id: Inert = ABSENT
    expected_leaf_entry_id: Inert = ABSENT


class ChatAbort(Params, frozen=True):
    """Everything unfinished of a session, or one run by its id."""

    session_key: str | None = None
    run_id: str | None = None
    agent_id: str | None = None
    reason: str | None = None
    preserve_side_runs: Inert = ABSENT


ROWS = (
    Row("chat.history", scopes.READ, "A session's transcript, oldest first within the page.", ChatHistory),
    Row("chat.startup", scopes.READ, "The same, for a page that opens a conversation.", ChatHistory),
    Row("chat.send", scopes.WRITE, "Say something in a session; the answer comes as events.", ChatSend),
    Row("chat.abort", scopes.WRITE, "Abort a session's run and what it started.", ChatAbort),
)
