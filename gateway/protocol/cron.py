"""Jobs of cron as they are kept and as they travel: schedule, payload, delivery, the job, its state, its runs.

Shapes as OpenClaw's (2026.9.6, `packages/gateway-protocol/src/schema/cron.ts`): camelCase, closed, absent fields left
out, times in milliseconds since the epoch. `misfire`, `misfireCap` and `overlap` are ours. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_MS = 253_402_300_799_000
"""The last instant Python can say (year 9999)."""
MAX_NAME_CHARS = 200
MAX_TEXT_CHARS = 200_000
MAX_ARGUMENTS = 256
MAX_SECONDS = 30 * 24 * 3600
DAY_MS = 86_400_000

Millis = Annotated[int, Meta(ge=0, le=MAX_MS)]
Seconds = Annotated[int, Meta(ge=0, le=MAX_SECONDS)]
Label = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
Key = Annotated[str, Meta(min_length=1, max_length=512)]
Words = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
Short = Annotated[str, Meta(max_length=4096)]
Strings = Annotated[tuple[Short, ...], Meta(max_length=MAX_ARGUMENTS)]

Misfire = Literal["run-once", "skip", "catch-up"]
Overlap = Literal["skip", "wait", "allow"]
RunStatus = Literal["ok", "error", "skipped"]


class Part(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what a job is made of: closed."""


# --- schedule ---------------------------------------------------------------------------------------------------------


class At(Part, frozen=True, tag="at", tag_field="kind"):
    """Once. `at` is ISO-8601 (without an offset: UTC), or milliseconds since the epoch."""

    at: Annotated[str, Meta(max_length=64)] | Millis


class Every(Part, frozen=True, tag="every", tag_field="kind"):
    """At `anchorMs` and every `everyMs` after it; the anchor is when the job was made, unless it is given."""

    every_ms: Annotated[int, Meta(ge=1, le=MAX_MS)]
    anchor_ms: Millis | None = None


class Cron(Part, frozen=True, tag="cron", tag_field="kind"):
    """A cron expression of 5 fields, or 6 with seconds first; `tz` is an IANA name, default the host's. `staggerMs`
    moves every run of the job by the same part of this, which its id decides; 0 is exact."""

    expr: Annotated[str, Meta(min_length=1, max_length=512)]
    tz: Annotated[str, Meta(max_length=64)] | None = None
    stagger_ms: Annotated[int, Meta(ge=0, le=DAY_MS)] | None = None


class OnExit(Part, frozen=True, tag="on-exit", tag_field="kind"):
    """OpenClaw's; known so that it is refused by name."""

    command: Short
    cwd: Short | None = None


class Stream(Part, frozen=True, tag="stream", tag_field="kind"):
    """OpenClaw's; known so that it is refused by name."""

    command: Strings
    cwd: Short | None = None
    mode: Short | None = None
    match: Short | None = None
    batch_ms: int | None = None
    max_batch_bytes: int | None = None


Schedule = At | Every | Cron | OnExit | Stream


# --- payload ----------------------------------------------------------------------------------------------------------


class SystemEvent(Part, frozen=True, tag="systemEvent", tag_field="kind"):
    """Words for the agent's main session. Nothing is done with the tool lists."""

    text: Words
    tools_allow: Strings | None = None
    tools_allow_is_default: bool | None = None


class AgentTurn(Part, frozen=True, tag="agentTurn", tag_field="kind"):
    """A turn of the agent. `timeoutSeconds` 0: no limit. What chooses models and tools changes nothing."""

    message: Words
    model: Short | None = None
    fallbacks: Strings | None = None
    thinking: Short | None = None
    timeout_seconds: Seconds | None = None
    light_context: bool | None = None
    tools_allow: Strings | None = None
    tools_allow_is_default: bool | None = None
    allow_unsafe_external_content: bool | None = None


class Command(Part, frozen=True, tag="command", tag_field="kind"):
    """A program, started by a worker of the agent, with its uid and limits; no shell. Of its output the first
    `outputMaxBytes` are kept."""

    argv: Annotated[tuple[Short, ...], Meta(min_length=1, max_length=MAX_ARGUMENTS)]
    cwd: Short | None = None
    env: dict[str, Short] | None = None
    input: Words | None = None
    timeout_seconds: Seconds | None = None
    no_output_timeout_seconds: Seconds | None = None
    output_max_bytes: Annotated[int, Meta(ge=1, le=768 * 1024)] | None = None
    tools_allow: Strings | None = None


class Script(Part, frozen=True, tag="script", tag_field="kind"):
    """OpenClaw's; known so that it is refused by name."""

    script: Words
    timeout_seconds: Seconds | None = None
    tool_budget: int | None = None
    tools_allow: Strings | None = None


Payload = SystemEvent | AgentTurn | Command | Script


# --- delivery ---------------------------------------------------------------------------------------------------------


class Webhook(Part, frozen=True):
    """Another place that hears when a run has ended."""

    to: Short
    mode: Literal["webhook"] = "webhook"


class FailureDestination(Part, frozen=True):
    """Where a failed run is told of besides: a session (announce) or an address (webhook)."""

    to: Short | None = None
    mode: Literal["announce", "webhook"] = "announce"
    channel: Short | None = None
    account_id: Short | None = None


class Delivery(Part, frozen=True):
    """What becomes of a run's result. announce: a message to the session `to`. webhook: a POST to the address `to`.
    `bestEffort`: a delivery that fails does not make the run an error. There are no channels: `channel`, `threadId` and
    `accountId` change nothing."""

    mode: Literal["none", "announce", "webhook"]
    to: Short | None = None
    channel: Short | None = None
    thread_id: Short | int | None = None
    account_id: Short | None = None
    best_effort: bool | None = None
    failure_destination: FailureDestination | None = None
    completion_destination: Webhook | None = None


class FailureAlert(Part, frozen=True):
    """When somebody is told that a job fails: `after` so many failures in a row, and not again for `cooldownMs`."""

    after: Annotated[int, Meta(ge=1, le=1000)] | None = None
    cooldown_ms: Annotated[int, Meta(ge=0, le=366 * DAY_MS)] | None = None
    include_skipped: bool | None = None
    mode: Literal["announce", "webhook"] | None = None
    to: Short | None = None
    channel: Short | None = None
    account_id: Short | None = None


class Pacing(Part, frozen=True):
    """OpenClaw's; known so that it is refused by name."""

    min: Short | None = None
    max: Short | None = None


class Trigger(Part, frozen=True):
    """OpenClaw's; known so that it is refused by name."""

    script: Words
    once: bool | None = None


# --- the job ----------------------------------------------------------------------------------------------------------


class Owner(Part, frozen=True):
    """Who made a job; absent for an operator."""

    agent_id: Key | None = None
    session_key: Key | None = None


class Wish(Part, frozen=True, kw_only=True):
    """A job as somebody asks for it; what is left out is filled in (`gateway.schedules.job`)."""

    schedule: Schedule
    payload: Payload
    name: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""
    session_target: Key | None = None
    wake_mode: Literal["next-heartbeat", "now"] = "now"
    declaration_key: Label | None = None
    display_name: Label | None = None
    agent_id: Key | None = None
    session_key: Key | None = None
    description: Short | None = None
    enabled: bool = True
    delete_after_run: bool | None = None
    delivery: Delivery | None = None
    failure_alert: FailureAlert | bool | None = None
    misfire: Misfire | None = None
    misfire_cap: Annotated[int, Meta(ge=1, le=1000)] | None = None
    overlap: Overlap | None = None
    pacing: Pacing | None = None
    trigger: Trigger | None = None


class AutoDisabled(Part, frozen=True):
    """Why a job was switched off by itself."""

    reason: Literal["consecutive-failures", "schedule-errors"]
    at_ms: int
    consecutive_errors: int


class State(Part, frozen=True, kw_only=True):
    """How a job goes."""

    next_run_at_ms: int | None = None
    schedule_activated_at_ms: int | None = None
    running_at_ms: int | None = None
    last_run_at_ms: int | None = None
    last_run_status: RunStatus | None = None
    last_status: RunStatus | None = None
    last_error: str | None = None
    last_error_reason: str | None = None
    last_duration_ms: int | None = None
    consecutive_errors: int = 0
    consecutive_skipped: int = 0
    auto_disabled: AutoDisabled | None = None
    last_delivered: bool | None = None
    last_delivery_status: str | None = None
    last_delivery_error: str | None = None
    delivery_suppression_reason: str | None = None
    last_failure_alert_at_ms: int | None = None
    schedule_errors: int = 0


class Job(Part, frozen=True, kw_only=True):
    """A job as it is told. What stands in `state` and not in a job's configuration changes by itself."""

    id: str
    name: str
    enabled: bool
    created_at_ms: int
    updated_at_ms: int
    schedule: Schedule
    session_target: str
    wake_mode: Literal["next-heartbeat", "now"]
    payload: Payload
    state: State = State()
    config_revision: str | None = None
    display_name: str | None = None
    declaration_key: str | None = None
    owner: Owner | None = None
    agent_id: str | None = None
    session_key: str | None = None
    description: str | None = None
    delete_after_run: bool | None = None
    delivery: Delivery | None = None
    failure_alert: FailureAlert | bool | None = None
    misfire: Misfire | None = None
    misfire_cap: int = 10
    overlap: Overlap = "skip"


class RunEntry(Part, frozen=True, kw_only=True):
    """A line of the run log. `slotMs` is the instant of the schedule the run is for; of a run that somebody asked for,
    when they did. `missed`: slots before it that were left out."""

    ts: int
    job_id: str
    slot_ms: int
    action: Literal["finished"] = "finished"
    job_name: str | None = None
    run_id: str | None = None
    status: RunStatus | None = None
    completion_status: Literal["succeeded", "failed", "unknown"] | None = None
    error: str | None = None
    error_reason: str | None = None
    summary: str | None = None
    delivered: bool | None = None
    delivery_status: str | None = None
    delivery_error: str | None = None
    delivery_suppression_reason: str | None = None
    session_id: str | None = None
    session_key: str | None = None
    run_at_ms: int | None = None
    duration_ms: int | None = None
    next_run_at_ms: int | None = None
    missed: int = 0
    attempt: int = 1
    trigger: Literal["schedule", "manual"] = "schedule"
