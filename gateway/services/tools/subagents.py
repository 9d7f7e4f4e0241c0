"""`subagents`: what a session's children do, their results taken instead of announced, and ending them."""

from __future__ import annotations

from typing import Any

from gateway.protocol.calls.tools import SubagentsArgs
from gateway.services.tools.base import ToolCall, failed
from gateway.services.work import RunSnapshot

MAX_TASK_IDS = 32
MAX_WAIT_SECONDS = 60
_WORDS = {"done": "completed", "timed_out": "timeout", "aborted": "cancelled"}


async def subagents(call: ToolCall) -> dict[str, Any]:
    """list (default), wait, or cancel. A child is named by its run id, session key or task name; `last` and `all`
    work too."""
    args: SubagentsArgs = call.args
    if args.action == "list":
        return _list(call, args)
    if args.action not in ("wait", "cancel"):
        return failed(f'action "{args.action}" is not served, allowed: list, wait, cancel')
    names = [*(args.task_ids or []), *([args.task_id] if args.task_id else [])]
    if len(names) > MAX_TASK_IDS:
        return failed(f"{len(names)} task ids, at most {MAX_TASK_IDS} are allowed")
    picked = _pick(call, names)
    if isinstance(picked, str):
        return failed(picked)
    if args.action == "cancel":
        return await _cancel(call, picked if names else [], names)
    return await _wait(call, args, picked if names else None)


def _pick(call: ToolCall, names: list[str]) -> list[RunSnapshot] | str:
    """The children that are meant, or the sentence that says which name is unknown."""
    runs, session = call.services.runs, str(call.acting)
    picked: dict[str, RunSnapshot] = {}
    for name in names:
        if name == "all":
            return runs.children(session)
        matches = runs.children(session, limit=1) if name == "last" else runs.children_named(session, name)
        if not matches:
            return f'"{name}" is no sub-agent of this session; action "list" shows them'
        picked |= {child.run_id: child for child in matches}
    return [*picked.values()]


def _list(call: ToolCall, args: SubagentsArgs) -> dict[str, Any]:
    recent = call.services.runs.children(str(call.acting), args.recent_minutes)
    active = [child for child in recent if not child.ended]
    return {
        "status": "ok",
        "action": "list",
        "requesterSessionKey": str(call.acting),
        "callerSessionKey": str(call.acting),
        "callerIsSubagent": call.acting.kind == "subagent",
        "total": len(active),
        "taskTotal": len(recent),
        "tasks": [_task(child) | _unheard(call, child) for child in recent],
    }


def _unheard(call: ToolCall, child: RunSnapshot) -> dict[str, Any]:
    """Why an ended child's result is not with its parent yet, when that takes long."""
    why = call.services.runs.announce_waits(child.run_id) if child.ended else None
    return {"announceWaits": why} if why else {}


def _task(child: RunSnapshot) -> dict[str, Any]:
    task: dict[str, Any] = {
        "taskId": child.run_id,
        "runtime": "subagent",
        "childSessionKey": child.session_key,
        "status": _WORDS.get(child.state, child.state),
        "execution": {"state": "finished" if child.ended else child.state},
        "createdAt": round(child.created_at),
    }
    optional = {
        "taskName": child.task_name,
        "label": child.label,
        "terminalSummary": _WORDS.get(child.state, child.state) if child.ended else None,
    }
    return {**task, **{name: value for name, value in optional.items() if value is not None}}


async def _wait(call: ToolCall, args: SubagentsArgs, picked: list[RunSnapshot] | None) -> dict[str, Any]:
    runs = call.services.runs
    ids = [child.run_id for child in picked] if picked is not None else None
    seconds = max(0.0, min(args.timeout_seconds, MAX_WAIT_SECONDS))

    def answer(taken: list[RunSnapshot]) -> dict[str, Any]:
        done = {child.run_id for child in taken}
        own = runs.active_children(str(call.acting))
        pending = own if ids is None else runs.unfinished([run_id for run_id in ids if run_id not in done])
        return {
            "status": "ok" if taken or not pending else "timeout",
            "action": "wait",
            "results": [_outcome(child) for child in taken],
            "pending": pending,
        }

    runs.hold_slot(call.run_id, True)
    try:
        taken = await runs.take_results(str(call.acting), ids, seconds, lambda found: call.record(answer(found)))
    finally:
        runs.hold_slot(call.run_id, False)
    return answer(taken)


def _outcome(child: RunSnapshot) -> dict[str, Any]:
    outcome: dict[str, Any] = {
        "taskId": child.run_id,
        "runId": child.run_id,
        "childSessionKey": child.session_key,
        "status": child.status,
        "result": child.text,
    }
    optional = {"error": child.error, "taskName": child.task_name, "label": child.label}
    return {**outcome, **{name: value for name, value in optional.items() if value is not None}}


async def _cancel(call: ToolCall, picked: list[RunSnapshot], names: list[str]) -> dict[str, Any]:
    if not names:
        return failed('name what to cancel: taskId, taskIds, "last" or "all"')
    ended: list[str] = []
    for child in picked:
        if not child.ended:
            ended += await call.services.runs.abort(run_id=child.run_id, reason=f"cancelled by {call.acting}")
    return {"status": "ok", "action": "cancel", "cancelled": ended}
