"""Rows of cron: jobs, their runs, and waking a session. Parameters and results: OpenClaw 2026.9.6.

`id` and `jobId` are two spellings of one parameter; exactly one is given."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from gateway.protocol import scopes
from gateway.protocol.calls.row import Count, Params, Result, Row
from gateway.protocol.cron import (
    Delivery,
    FailureAlert,
    Key,
    Label,
    Misfire,
    Overlap,
    Pacing,
    RunEntry,
    Schedule,
    Seconds,
    Short,
    Strings,
    Trigger,
    Wish,
    Words,
)

Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^/\\]+$")]


class OneJob(Params, frozen=True):
    id: Name | None = None
    job_id: Name | None = None


class CronList(Params, frozen=True):
    """Enabled jobs by their next run, unless said otherwise. `compact` and `includeDeliveryPreviews` change
    nothing."""

    include_disabled: bool = False
    enabled: Literal["all", "enabled", "disabled"] | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Count = 0
    query: Short | None = None
    schedule_kind: Literal["all", "at", "every", "cron", "on-exit", "stream"] = "all"
    last_run_status: Literal["all", "ok", "error", "skipped", "unknown"] = "all"
    trigger: Literal["all", "conditional", "unconditional"] = "all"
    sort_by: Literal["nextRunAtMs", "updatedAtMs", "name"] = "nextRunAtMs"
    sort_dir: Literal["asc", "desc"] = "asc"
    agent_id: Key | None = None
    session_key: Key | None = None
    session_agent_id: Key | None = None
    compact: bool = False
    include_delivery_previews: bool = False


class CronAdd(Wish, Params, frozen=True, kw_only=True):
    """A new job. With `declarationKey`, a job that has it already becomes this one."""


class PayloadPatch(Params, frozen=True, kw_only=True):
    """Fields of a payload to be changed; null clears one. Of another kind than the job's, it must be whole."""

    kind: Literal["systemEvent", "agentTurn", "command", "script"]
    text: Words | UnsetType = UNSET
    message: Words | UnsetType = UNSET
    model: Short | UnsetType | None = UNSET
    fallbacks: Strings | UnsetType | None = UNSET
    thinking: Short | UnsetType | None = UNSET
    timeout_seconds: Seconds | UnsetType | None = UNSET
    light_context: bool | UnsetType | None = UNSET
    tools_allow: Strings | UnsetType | None = UNSET
    tools_allow_is_default: bool | UnsetType | None = UNSET
    allow_unsafe_external_content: bool | UnsetType | None = UNSET
    argv: Strings | UnsetType = UNSET
    cwd: Short | UnsetType | None = UNSET
    env: dict[str, Short] | UnsetType | None = UNSET
    input: Words | UnsetType | None = UNSET
    no_output_timeout_seconds: Seconds | UnsetType | None = UNSET
    output_max_bytes: Count | UnsetType | None = UNSET
    script: Words | UnsetType = UNSET
    tool_budget: Count | UnsetType | None = UNSET


class JobPatch(Params, frozen=True, kw_only=True):
    """What is to be different; null clears a field that may be absent."""

    name: Label | UnsetType = UNSET
    schedule: Schedule | UnsetType = UNSET
    payload: PayloadPatch | UnsetType = UNSET
    session_target: Key | UnsetType = UNSET
    wake_mode: Literal["next-heartbeat", "now"] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    display_name: Label | UnsetType | None = UNSET
    agent_id: Key | UnsetType | None = UNSET
    session_key: Key | UnsetType | None = UNSET
    description: Short | UnsetType | None = UNSET
    delete_after_run: bool | UnsetType = UNSET
    delivery: Delivery | UnsetType | None = UNSET
    failure_alert: FailureAlert | bool | UnsetType | None = UNSET
    misfire: Misfire | UnsetType = UNSET
    misfire_cap: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    overlap: Overlap | UnsetType = UNSET
    pacing: Pacing | UnsetType | None = UNSET
    trigger: Trigger | UnsetType | None = UNSET


class CronUpdate(OneJob, frozen=True, kw_only=True):
    patch: JobPatch
    expected_config_revision: Key | None = None


class CronRun(OneJob, frozen=True, kw_only=True):
    """`due`: only if it is due; `if-enabled`: only if it is switched on. Answers when the run is accepted."""

    mode: Literal["due", "force", "if-enabled"] = "force"
    expected_process_instance_id: Key | None = None


Status = Literal["ok", "error", "skipped"]
Delivered = Literal["delivered", "not-delivered", "unknown", "not-requested"]


class CronRuns(OneJob, frozen=True, kw_only=True):
    """Ended runs, newest first."""

    scope: Literal["job", "all"] | None = None
    run_id: Key | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Count = 0
    statuses: Annotated[tuple[Status, ...], Meta(max_length=3)] | None = None
    status: Literal["all"] | Status = "all"
    delivery_statuses: Annotated[tuple[Delivered, ...], Meta(max_length=4)] | None = None
    delivery_status: Delivered | None = None
    query: Short | None = None
    sort_dir: Literal["asc", "desc"] = "desc"


class CronStatusParams(Params, frozen=True):
    pass


class Wake(Params, frozen=True, kw_only=True):
    """`now`: a run at once. `next-heartbeat`: with the session's next run, whenever that is."""

    mode: Literal["now", "next-heartbeat"]
    text: Words
    session_key: Key | None = None
    agent_id: Key | None = None


class CronStatus(Result, frozen=True, omit_defaults=False):
    """`storePath` is the database. `nextWakeAtMs` is when the next job is due."""

    enabled: bool
    triggers_enabled: bool
    store_path: str
    storage: str
    sqlite_path: str
    jobs: int
    next_wake_at_ms: int | None


class JobPage(Result, frozen=True, omit_defaults=False):
    jobs: list[dict[str, Any]]
    total: int
    offset: int
    limit: int
    has_more: bool
    next_offset: int | None
    snapshot_revision: str


class RunPage(Result, frozen=True, omit_defaults=False):
    entries: list[RunEntry]
    total: int
    offset: int
    limit: int
    has_more: bool
    next_offset: int | None


_BYTES = 256 * 1024
ROWS = (
    Row("cron.status", scopes.READ, "Whether the scheduler is at work.", CronStatusParams, result=CronStatus),
    Row("cron.list", scopes.READ, "Jobs, a page at a time.", CronList, result=JobPage),
    Row("cron.get", scopes.READ, "One job.", OneJob, result=dict[str, Any]),
    Row("cron.add", scopes.ADMIN, "Make a job.", CronAdd, dict[str, Any], _BYTES, budgeted=True),
    Row("cron.update", scopes.ADMIN, "Change a job.", CronUpdate, dict[str, Any], _BYTES, budgeted=True),
    Row("cron.remove", scopes.ADMIN, "Remove a job.", OneJob, dict[str, Any], budgeted=True),
    Row("cron.run", scopes.ADMIN, "Run a job now.", CronRun, dict[str, Any], budgeted=True),
    Row("cron.runs", scopes.READ, "Ended runs of jobs.", CronRuns, result=RunPage),
    Row("wake", scopes.WRITE, "Say something to a session, now or with its next run.", Wake, result=dict[str, Any]),
)
