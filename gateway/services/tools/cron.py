"""`cron`: the jobs an agent has made, and reminders for itself.

The acting session's agent owns what it makes, and sees and changes nothing else; an operator who names no session sees
all. Actions and parameters: OpenClaw 2026.9.6, its tool of this name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from gateway.protocol.calls.cron import CronList, CronRuns, JobPatch
from gateway.protocol.calls.tools import CronArgs
from gateway.protocol.cron import At, Owner, SystemEvent
from gateway.protocol.errors import ErrorCode, Refusal, invalid
from gateway.protocol.spans import parse_span
from gateway.services.tools.base import ToolCall, failed

MAX_CONTEXT_CHARS, MAX_LINE_CHARS = 700, 220
"""Of what `contextMessages` adds, and of each message in it (OpenClaw 2026.9.6)."""
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


async def cron(call: ToolCall) -> dict[str, Any]:
    """One action. What makes no sense is an answer with the sentence that says why."""
    args: CronArgs = call.args
    act = ACTIONS.get(args.action)
    if act is None:
        return failed(f'action "{args.action[:64]}" is not served, allowed: {", ".join(ACTIONS)}')
    try:
        result = await act(call, args)
    except Refusal as refusal:
        if refusal.shape.code != ErrorCode.INVALID_REQUEST:
            raise
        return failed(refusal.shape.message, **(refusal.shape.details or {}))
    if call.key is not None and args.action in CHANGING:
        await _keep(call, call.key, result)
    return result


async def _keep(call: ToolCall, key: str, result: dict[str, Any]) -> None:
    """Keep an answer that no effect was written with: that nothing was done."""
    kept = call.services.idempotency
    if kept.recall(call.scope, key, call.digest) is None:
        await kept.record(call.scope, key, call.digest, result)


def _who(call: ToolCall) -> Owner | None:
    return None if call.session is None else Owner(call.session.agent, str(call.session))


def _job_id(args: CronArgs) -> str:
    given = [text for text in (args.id, args.job_id) if text is not None]
    if len(given) != 1:
        raise invalid(f"{args.action} needs one job: id, or jobId")
    return given[0]


# --- looking ----------------------------------------------------------------------------------------------------------


async def _status(call: ToolCall, args: CronArgs) -> dict[str, Any]:
    """Of the caller's own jobs."""
    whole = await call.services.cron.status()
    page = await call.services.cron.list(CronList(limit=1), _who(call))
    due = page.jobs[0].get("nextRunAtMs") if page.jobs and whole.enabled else None
    every = await call.services.cron.list(CronList(limit=1, enabled="all"), _who(call))
    return {"enabled": whole.enabled, "triggersEnabled": False, "jobs": every.total, "nextWakeAtMs": due}


async def _list(call: ToolCall, args: CronArgs) -> dict[str, Any]:
    wanted = CronList(
        include_disabled=args.include_disabled, enabled=args.enabled, limit=args.limit, offset=args.offset,
        query=args.query, session_key=args.session_key, agent_id=args.agent_id, sort_by=args.sort_by,
        sort_dir=args.sort_dir or "asc",
    )  # fmt: skip
    page: dict[str, Any] = msgspec.to_builtins(await call.services.cron.list(wanted, _who(call)))
    return page


async def _get(call: ToolCall, args: CronArgs) -> dict[str, Any]:
    return await call.services.cron.get(_job_id(args), _who(call))


async def _runs(call: ToolCall, args: CronArgs) -> dict[str, Any]:
    job = _job_id(args) if args.id is not None or args.job_id is not None else None
    wanted = CronRuns(
        id=job, run_id=args.run_id, limit=args.limit, offset=args.offset, query=args.query, status=args.status,
        sort_dir=args.sort_dir or "desc",
    )  # fmt: skip
    page: dict[str, Any] = msgspec.to_builtins(await call.services.cron.entries(wanted, _who(call)))
    return page


# --- changing ---------------------------------------------------------------------------------------------------------


async def _add(call: ToolCall, args: CronArgs) -> dict[str, Any]:
    if args.job is None:
        raise invalid("add needs job: {name, schedule, payload, …}")
    job = args.job
    if isinstance(job.schedule, At):
        job = replace(job, schedule=_absolute(call, job.schedule))
    if args.context_messages and isinstance(job.payload, SystemEvent):
        words = job.payload.text + _context(call, args.context_messages)
        job = replace(job, payload=replace(job.payload, text=words))
    return await call.services.cron.add(job, _who(call), call.record)


async def _update(call: ToolCall, args: CronArgs) -> dict[str, Any]:
    if args.patch is None:
        raise invalid("update needs patch: the fields that are to be different")
    patch: JobPatch = args.patch
    if patch.schedule is not UNSET and isinstance(patch.schedule, At):
        patch = replace(patch, schedule=_absolute(call, patch.schedule))
    return await call.services.cron.update(_job_id(args), patch, args.expected_config_revision, _who(call), call.record)


async def _remove(call: ToolCall, args: CronArgs) -> dict[str, Any]:
    return await call.services.cron.remove(_job_id(args), _who(call), call.record)


async def _run(call: ToolCall, args: CronArgs) -> dict[str, Any]:
    mode = args.run_mode or args.mode or "force"
    if mode not in ("due", "force", "if-enabled"):
        raise invalid(f'run has no mode "{mode}", allowed: due, force, if-enabled')
    return await call.services.cron.run(_job_id(args), mode, _who(call), call.record)


async def _wake(call: ToolCall, args: CronArgs) -> dict[str, Any]:
    mode = args.mode or "next-heartbeat"
    if mode not in ("now", "next-heartbeat"):
        raise invalid(f'wake has no mode "{mode}", allowed: now, next-heartbeat')
    return await call.services.cron.wake(
        mode, args.text or "", args.session_key, args.agent_id, _who(call), run_id=call.own_id("wake"), keep=call.record
    )


ACTIONS: dict[str, Callable[[ToolCall, CronArgs], Awaitable[dict[str, Any]]]] = {
    "status": _status,
    "list": _list,
    "get": _get,
    "add": _add,
    "update": _update,
    "remove": _remove,
    "run": _run,
    "runs": _runs,
    "wake": _wake,
}
CHANGING = frozenset({"add", "update", "remove", "run", "wake"})


def _absolute(call: ToolCall, schedule: At) -> At:
    """A time from now as the time it is. It is worked out here, so that a turn that is run again asks in the same
    words."""
    span = parse_span(schedule.at) if isinstance(schedule.at, str) else None
    return schedule if span is None else At(round(call.services.clock()) + span)


def _context(call: ToolCall, count: int) -> str:
    """The last messages of the acting session, the newest kept where they are too long."""
    lines: list[str] = []
    room = MAX_CONTEXT_CHARS
    for message in reversed(call.services.sessions.history(str(call.acting), limit=count)[0]):
        speaker = _SPEAKERS.get(str(message.get("role")))
        text = " ".join(str(part.get("text", "")) for part in message.get("content") or ())
        line = f"- {speaker}: {_cut(' '.join(text.split()), MAX_LINE_CHARS)}"
        if speaker is None or not text.strip():
            continue
        room -= len(line)
        if room < 0:
            break
        lines.insert(0, line)
    return "\n\nRecent context:\n" + "\n".join(lines) if lines else ""


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
