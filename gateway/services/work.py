"""The values that go into the engine and come out of it. Pure.

Times are milliseconds since the epoch (floats, because a child starts within a fraction of one; whole as they travel,
see `whole_ms`), durations are seconds."""

from __future__ import annotations

from typing import Any

import msgspec

CRON = "cron:"
"""How the ids of runs begin that are made for jobs."""


def whole_ms(ms: float | None) -> int | None:
    """A time as it travels: whole milliseconds."""
    return None if ms is None else round(ms)


class SpawnInfo(msgspec.Struct, frozen=True):
    """What a new sub-agent session is: who started it, how deep, under what names, and how it ends.

    `max_children` is enforced in the transaction that accepts the message, so that two spawns at once cannot both be
    the last one allowed."""

    spawned_by: str
    depth: int
    label: str | None = None
    task_name: str | None = None
    cleanup: str = "keep"
    expects_completion: bool = True
    max_children: int | None = None


class Record(msgspec.Struct, frozen=True):
    """An answer to keep under an idempotency key, written in the same transaction as the effect it tells of.

    `digest` is the hash of what was asked; the same key with another digest is refused."""

    scope: str
    key: str
    digest: str
    result: dict[str, Any]


class NewMessage(msgspec.Struct, frozen=True):
    """A message for a session. `run_id` is the idempotency key: the same one is accepted once.

    `kind` is user, inter_session, announce or task; `lane` is main, subagent, cron, or nested:<session>. `timeout_s`:
    None is the configured one, 0 none. `steer`: give it to the turn in progress if that one reads messages, instead of
    queueing a turn of its own. `key`: the caller's idempotency key where the run's id is made from it. `scope`: whose
    key that is, when nobody has looked yet whether it was used for something else.
    `max_transcript_bytes`: a session whose transcript has so many takes no message; the configuration key that says so
    is `max_transcript_key`."""

    run_id: str
    session_key: str
    text: str
    provenance: dict[str, Any] = msgspec.field(default_factory=lambda: {"kind": "external_user"})
    lane: str = "main"
    kind: str = "user"
    parent_run: str | None = None
    sender: str = ""
    timeout_s: int | None = None
    label: str | None = None
    spawn: SpawnInfo | None = None
    steer: bool = False
    record: Record | None = None
    digest: str = ""
    key: str | None = None
    scope: str | None = None
    max_transcript_bytes: int | None = None
    max_transcript_key: str = "limits.transcriptBytes"


class Accepted(msgspec.Struct, frozen=True):
    """The message is on disk. `created` is False when this run id was accepted before. `disposition`: queued or
    steered."""

    run_id: str
    session_key: str
    created: bool
    disposition: str
    accepted_at: float


class RunSnapshot(msgspec.Struct, frozen=True):
    """How a run stands. `state` is a word of run_state.State; `ended_at` is None while it goes on. `kind` as in
    NewMessage. `waits`: why it waits for its agent, or why an announcement waits longer than it should."""

    run_id: str
    session_key: str
    agent_id: str
    state: str
    kind: str
    lane: str
    attempt: int
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    parent_run: str | None = None
    parent_session_key: str | None = None
    worker_pid: int | None = None
    worker_start: int | None = None
    text: str | None = None
    error: str | None = None
    stop_reason: str | None = None
    label: str | None = None
    task_name: str | None = None
    waits: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.ended_at is not None

    @property
    def status(self) -> str:
        """ok, error, timeout or pending, as `agent.wait` says it."""
        if not self.ended:
            return "pending"
        return {"done": "ok", "timed_out": "timeout"}.get(self.state, "error")


class ChildLimit(Exception):
    """The session has as many unfinished children as it may have; nothing was accepted."""

    def __init__(self, active: int, limit: int) -> None:
        super().__init__(f"{active} of at most {limit} children are unfinished")
        self.active = active
        self.limit = limit
