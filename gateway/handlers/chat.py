"""A conversation: read it, say something, stop the answer."""

from __future__ import annotations

from typing import Any

from gateway.handlers.runs import Words, refuse_attachments, say_and_leave, seconds_of
from gateway.handlers.targets import key_of
from gateway.protocol.calls.chat import ChatAbort, ChatHistory, ChatSend
from gateway.protocol.calls.sessions import SessionRow
from gateway.protocol.errors import invalid
from gateway.router import Call, Handler
from gateway.services.news import recognisable
from gateway.services.runs import no_run

STOP = "/stop"


def chat_history(call: Call) -> dict[str, Any]:
    params: ChatHistory = call.params
    key = key_of(call, params.session_key, params.agent_id)
    row = call.services.sessions.row(key)
    if params.cursor is not None:
        return _since(call, key, row, params)
    messages, total = call.services.sessions.history(key, limit=params.limit, offset=params.offset)
    seen = max(0, params.offset) + len(messages)
    newest = messages[-1]["seq"] if messages and not params.offset else total
    answer: dict[str, Any] = {
        "sessionKey": key,
        "sessionId": row.session_id if row else None,
        "messages": [_shown(message, params.max_chars) for message in messages],
        "totalMessages": total,
        "hasMore": seen < total,
        "inFlightRun": call.services.runs.active_run(key),
        "sessionInfo": row,
        "thinkingLevel": "off",
        "defaults": {},
        "deltaCursor": _cursor(row, newest),
    }
    return answer | ({"nextOffset": seen} if seen < total else {})


def _since(call: Call, key: str, row: SessionRow | None, params: ChatHistory) -> dict[str, Any]:
    """What was said after a cursor: the session's id and the number of the last message that was seen."""
    session_id, _, number = (params.cursor or "").rpartition(":")
    if row is None or session_id != row.session_id or not number.isascii() or not number.isdecimal():
        return {"kind": "reset", "sessionKey": key}
    seq = min(int(number[:15]), 2**53)
    messages = call.services.sessions.said_since(key, seq, limit=params.limit)
    return {
        "kind": "delta",
        "sessionKey": key,
        "sessionId": row.session_id,
        "messages": [_shown(message, params.max_chars) for message in messages],
        "sessionInfo": row,
        "inFlightRun": call.services.runs.active_run(key),
        "deltaCursor": _cursor(row, messages[-1]["seq"] if messages else seq),
    }


def _cursor(row: SessionRow | None, seq: int) -> str | None:
    return f"{row.session_id}:{seq}" if row else None


def _shown(message: dict[str, Any], chars: int | None) -> dict[str, Any]:
    message = recognisable(message)
    if not chars or all(len(part["text"]) <= chars for part in message["content"]):
        return message
    return {**message, "content": [{**part, "text": part["text"][:chars]} for part in message["content"]]}


async def chat_send(call: Call) -> dict[str, Any]:
    params: ChatSend = call.params
    refuse_attachments(params.attachments)
    key = key_of(call, params.session_key, params.agent_id)
    if params.message.strip().lower() == STOP and not params.suppress_command_interpretation:
        return await _abort(call, key, None, "stopped by a message")
    told: dict[str, Any] = {}
    known = call.services.runs.snapshot(params.idempotency_key)
    if params.queue_mode == "interrupt" and known is None and (active := call.services.runs.active_run(key)):
        await call.services.runs.abort(run_id=active, reason="interrupted by a newer message")
        told = {"interruptedActiveRun": True}
    steer = params.queue_mode in (None, "steer")
    words = Words(key, params.message, params.idempotency_key, seconds_of(params.timeout_ms), steer=steer)
    return {**await say_and_leave(call, words), **told}


async def chat_abort(call: Call) -> dict[str, Any]:
    params: ChatAbort = call.params
    if params.run_id is None and params.session_key is None:
        raise invalid("chat.abort needs sessionKey or runId")
    key = key_of(call, params.session_key, params.agent_id) if params.session_key is not None else None
    check_run(call, params.run_id, key)
    return await _abort(call, key, params.run_id, params.reason or "aborted")


def check_run(call: Call, run_id: str | None, key: str | None) -> None:
    """Refuse a run there is not, and one of another session than the one named."""
    if run_id is None:
        return
    run = call.services.runs.snapshot(run_id)
    if run is None:
        raise no_run(run_id)
    if key is not None and run.session_key != key:
        raise invalid(f"the run {run_id[:128]} belongs to {run.session_key}, not to {key}")


async def _abort(call: Call, key: str | None, run_id: str | None, reason: str) -> dict[str, Any]:
    ended = await call.services.runs.abort(session_key=key, run_id=run_id, reason=reason)
    return {"ok": True, "aborted": bool(ended), "runIds": ended}


HANDLERS: dict[str, Handler] = {
    "chat.history": chat_history,
    "chat.startup": chat_history,
    "chat.send": chat_send,
    "chat.abort": chat_abort,
}
