"""Sessions and runs for operators: list, read, start a turn, wait, abort."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from gateway.protocol.calls.sessions import (
    Agent,
    AgentWait,
    ChatAbort,
    ChatHistory,
    OneSession,
    RunResult,
    RunRow,
    RunsList,
    SessionReset,
    SessionRow,
    SessionsList,
)
from gateway.protocol.errors import ErrorCode, Refusal, invalid
from gateway.protocol.keys import main_key, parse_key
from gateway.protocol.limits import MAX_RUN_SECONDS
from gateway.router import Call, Handler
from gateway.services.policy import judge_label
from gateway.services.work import NewMessage, RunSnapshot

_SUMMARY = {"done": "completed", "aborted": "aborted"}


def sessions_list(call: Call) -> dict[str, Any]:
    params: SessionsList = call.params
    rows, total = call.services.sessions.list_rows(
        agent_id=params.agent_id,
        spawned_by=_lower(params.spawned_by),
        active_minutes=params.active_minutes,
        label=params.label,
        search=params.search,
        limit=params.limit,
        offset=params.offset,
    )
    seen = max(0, params.offset) + len(rows)
    page = {"ts": round(call.services.clock()), "count": len(rows), "totalCount": total, "hasMore": seen < total}
    return {**page, "nextOffset": seen if seen < total else None, "sessions": rows}


def sessions_describe(call: Call) -> dict[str, SessionRow | None]:
    params: OneSession = call.params
    return {"session": call.services.sessions.row(_key(call, params.key))}


async def sessions_reset(call: Call) -> dict[str, Any]:
    params: SessionReset = call.params
    key = _key(call, params.key)
    session_id = await call.services.runs.reset(key)
    if session_id is None:
        raise invalid(f"there is no session {key}; peergate sessions lists them")
    return {"ok": True, "key": key, "sessionId": session_id}


def chat_history(call: Call) -> dict[str, Any]:
    params: ChatHistory = call.params
    key = _key(call, params.session_key)
    row = call.services.sessions.row(key)
    messages, total = call.services.sessions.history(key, limit=params.limit, offset=params.offset)
    seen = max(0, params.offset) + len(messages)
    answer: dict[str, Any] = {
        "sessionKey": key,
        "sessionId": row.session_id if row else None,
        "messages": messages,
        "totalMessages": total,
        "hasMore": seen < total,
        "inFlightRun": call.services.runs.active_run(key),
    }
    return answer | ({"nextOffset": seen} if seen < total else {})


def runs_list(call: Call) -> dict[str, Any]:
    params: RunsList = call.params
    found = call.services.runs.list_runs(
        session_key=_lower(params.session_key),
        spawned_by=_lower(params.spawned_by),
        state=params.state,
        limit=max(1, min(params.limit, 1000)),
        offset=max(0, params.offset),
    )
    return {"runs": [_row(run) for run in found]}


async def agent(call: Call) -> dict[str, Any]:
    """Two answers: `accepted` when it is on disk, the result when the run has ended."""
    params: Agent = call.params
    key = _target(call, params)
    # Not the label: a caller that learns a better name must not start a second run.
    digest = hashlib.sha256(f"{key}\n{params.message}".encode()).hexdigest()
    message = NewMessage(
        run_id=params.idempotency_key,
        session_key=key,
        text=params.message,
        timeout_s=params.timeout,
        label=params.label,
        sender=call.principal.account,
        digest=digest,
    )
    accepted = await call.services.runs.accept(message)
    named = {"runId": accepted.run_id, "sessionKey": key, "agentId": key.split(":")[1]}
    call.answer_now({**named, "status": "accepted", "acceptedAt": round(accepted.accepted_at)})
    run = await call.services.runs.wait(accepted.run_id, math.inf)
    final = _final(run)
    if run.status == "ok":
        return final
    raise Refusal(ErrorCode.UNAVAILABLE, run.error or f"the run ended as {run.state}", details=final)


async def agent_wait(call: Call) -> RunResult:
    params: AgentWait = call.params
    run = await call.services.runs.wait(params.run_id, max(0, params.timeout_ms) / 1000)
    return RunResult(
        run_id=run.run_id,
        status=run.status,
        session_key=run.session_key,
        state=run.state,
        started_at=run.started_at,
        ended_at=run.ended_at,
        error=run.error,
        stop_reason=run.stop_reason,
        reply=run.text if run.ended else None,
    )


async def chat_abort(call: Call) -> dict[str, Any]:
    params: ChatAbort = call.params
    if params.run_id is None and params.session_key is None:
        raise invalid("chat.abort needs sessionKey or runId")
    key = _key(call, params.session_key) if params.session_key is not None else None
    if params.run_id is not None:
        run = call.services.runs.snapshot(params.run_id)
        if run is None:
            raise invalid(f'there is no run "{params.run_id[:128]}"')
        if key is not None and run.session_key != key:
            raise invalid(f"the run {params.run_id[:128]} belongs to {run.session_key}, not to {key}")
    ended = await call.services.runs.abort(session_key=key, run_id=params.run_id, reason=params.reason or "aborted")
    return {"ok": True, "aborted": bool(ended), "runIds": ended}


def _target(call: Call, params: Agent) -> str:
    if not params.message.strip():
        raise invalid("message must not be empty")
    if params.timeout is not None and not 0 <= params.timeout <= MAX_RUN_SECONDS:
        raise invalid(f"timeout is {params.timeout}, it must be 0 (none) to {MAX_RUN_SECONDS} seconds")
    if params.label is not None and (wrong := judge_label(params.label)):
        raise invalid(wrong)
    if params.session_key is None:
        return _key(call, main_key(params.agent_id or call.services.settings.default_agent))
    key = _key(call, params.session_key)
    if params.agent_id is not None and params.agent_id != key.split(":")[1]:
        raise invalid(f'agentId "{params.agent_id}" is not the agent of the session {key}')
    return key


def _key(call: Call, text: str) -> str:
    """The session key in `text`; bare `main` is the default agent's main session."""
    word = text.strip().lower()
    key = parse_key(main_key(call.services.settings.default_agent) if word == "main" else word)
    if key is None:
        raise invalid(f'"{text[:128]}" is no session key; it looks like agent:main:main')
    return str(key)


def _lower(text: str | None) -> str | None:
    return text.strip().lower() if text is not None else None


def _row(run: RunSnapshot) -> RunRow:
    return RunRow(**{name: getattr(run, name) for name in RunRow.__struct_fields__})


def _final(run: RunSnapshot) -> dict[str, object]:
    meta: dict[str, object] = {"durationMs": round((run.ended_at or 0) - (run.started_at or run.created_at))}
    final: dict[str, object] = {
        "runId": run.run_id,
        "sessionKey": run.session_key,
        "status": run.status,
        "summary": _SUMMARY.get(run.state, "failed"),
        "result": {"payloads": [{"text": run.text}] if run.text else [], "meta": meta},
    }
    return final | ({"stopReason": run.stop_reason} if run.stop_reason else {})


HANDLERS: dict[str, Handler] = {
    "sessions.list": sessions_list,
    "sessions.describe": sessions_describe,
    "sessions.reset": sessions_reset,
    "chat.history": chat_history,
    "runs.list": runs_list,
    "agent": agent,
    "agent.wait": agent_wait,
    "chat.abort": chat_abort,
}
