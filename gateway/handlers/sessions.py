"""Sessions for operators: list, find, read, make, change, end, and hear of them."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from gateway.handlers.chat import check_run
from gateway.handlers.runs import Words, refuse_attachments, say_and_leave, seconds_of
from gateway.handlers.targets import agent_of, key_of
from gateway.protocol.calls.row import ABSENT, given
from gateway.protocol.calls.sessions import (
    OneSession,
    SessionAbort,
    SessionCreate,
    SessionDelete,
    SessionMessages,
    SessionPatch,
    SessionReset,
    SessionRow,
    SessionSend,
    SessionsList,
    SessionsPreview,
    SessionsResolve,
)
from gateway.protocol.errors import Refusal, invalid, unavailable
from gateway.protocol.keys import SessionKey, parse_key
from gateway.router import Call, Handler
from gateway.services.events import MAX_SUBSCRIPTIONS

_NAMESPACE = uuid.UUID("0f6c2c9e-30c5-5c59-8a63-6b4f0f5b7a11")
"""Ours: a session that is asked for again under one idempotency key is the same session."""
MAX_PREVIEW_ITEMS = 50
MAX_PREVIEW_CHARS = 4000
_NOT_SERVED = {"incognito": "incognito sessions", "fork": "forks of sessions"}


def sessions_list(call: Call) -> dict[str, Any]:
    params: SessionsList = call.params
    services = call.services
    kinds = {"subagent": params.exclude_subagents, "cron": params.exclude_cron}
    nothing = params.pinned is True or params.archived is True
    rows, total = services.sessions.list_rows(
        agent_id=_lower(params.agent_id),
        spawned_by=_lower(params.spawned_by),
        active_minutes=params.active_minutes,
        active_only=params.active_only,
        agents=[] if nothing else [*services.settings.agents.entries] if params.configured_agents_only else None,
        without=[kind for kind, left_out in kinds.items() if left_out],
        label=params.label,
        search=params.search,
        limit=params.limit,
        offset=params.offset,
    )
    seen = max(0, params.offset) + len(rows)
    page = {"ts": round(services.clock()), "path": str(services.database.path), "count": len(rows)}
    page |= {"totalCount": total, "limitApplied": params.limit, "offset": params.offset, "hasMore": seen < total}
    shown = [_titled(call, row, params) for row in rows]
    return {**page, "nextOffset": seen if seen < total else None, "defaults": {}, "sessions": shown}


def sessions_describe(call: Call) -> dict[str, SessionRow | None]:
    params: OneSession = call.params
    row = call.services.sessions.row(key_of(call, params.key))
    return {"session": _titled(call, row, params) if row else None}


def _titled(call: Call, row: SessionRow, params: SessionsList | OneSession) -> SessionRow:
    if not params.include_derived_titles and not params.include_last_message:
        return row
    return call.services.sessions.titled(
        row, title=params.include_derived_titles, last=params.include_last_message
    )  # fmt: skip


def sessions_resolve(call: Call) -> dict[str, Any]:
    params: SessionsResolve = call.params
    found = _candidates(call, params)
    if len(found) == 1:
        row = call.services.sessions.row(found[0])
        named = {"displayName": row.display_name} if row is not None and row.display_name else {}
        return {"ok": True, "key": found[0], "agentId": found[0].split(":")[1], **named}
    if params.allow_missing:
        return {"ok": False, "candidates": found}
    raise invalid(f"several sessions are meant: {', '.join(found)}" if found else "no such session")


def _candidates(call: Call, params: SessionsResolve) -> list[str]:
    """What is meant, in the order: a key, a session id, the beginning of one, a label."""
    sessions = call.services.sessions
    only = {"agent_id": _lower(params.agent_id), "spawned_by": _lower(params.spawned_by)}
    if params.key is not None:
        key = key_of(call, params.key, params.agent_id)
        return [key] if sessions.row(key) is not None else []
    if params.session_id is not None:
        return sessions.find(session_id=params.session_id, **only)
    if params.label is not None:
        return sessions.find(label=params.label, **only)
    word = params.short_id or params.reference
    if not word:
        raise invalid("sessions.resolve needs key, sessionId, label, shortId or reference")
    if params.short_id is None and (known := _reference(call, word, only)):
        return known
    return [key for key in sessions.find_short(word) if only["agent_id"] in (None, key.split(":")[1])]


def _reference(call: Call, word: str, only: dict[str, str | None]) -> list[str]:
    sessions = call.services.sessions
    if word.strip().lower() == "main" or parse_key(word):
        key = key_of(call, word)
        return [key] if sessions.row(key) is not None else []
    return sessions.find(session_id=word, **only) or sessions.find(label=word, **only)


def sessions_preview(call: Call) -> dict[str, Any]:
    params: SessionsPreview = call.params
    return {"ts": round(call.services.clock()), "previews": [_preview(call, key, params) for key in params.keys]}


def _preview(call: Call, text: str, params: SessionsPreview) -> dict[str, Any]:
    try:
        key = key_of(call, text)
    except Refusal:
        return {"key": text[:512], "status": "error", "items": []}
    if call.services.sessions.row(key) is None:
        return {"key": key, "status": "missing", "items": []}
    messages, _ = call.services.sessions.history(key, limit=min(params.limit, MAX_PREVIEW_ITEMS))
    chars = max(20, min(params.max_chars, MAX_PREVIEW_CHARS))
    items = [{"role": one["role"], "text": one["content"][0]["text"][:chars]} for one in messages]
    return {"key": key, "status": "ok" if items else "empty", "items": items}


async def sessions_reset(call: Call) -> dict[str, Any]:
    params: SessionReset = call.params
    key = key_of(call, params.key)
    if params.expected_session_id is not None:
        await call.services.edits.expect(key, params.expected_session_id)
    session_id = await call.services.runs.reset(key)
    if session_id is None:
        raise invalid(f"there is no session {key}; peergate sessions lists them")
    return {"ok": True, "key": key, "sessionId": session_id, "entry": call.services.sessions.row(key)}


async def sessions_patch(call: Call) -> dict[str, Any]:
    params: SessionPatch = call.params
    key = key_of(call, params.key, params.agent_id)
    if isinstance(params.label, msgspec.UnsetType):
        await call.services.edits.expect(key, params.expected_session_id)
    else:
        await call.services.edits.label(key, params.label, params.expected_session_id)
    path, entry = str(call.services.database.path), call.services.sessions.row(key)
    unkept = [name for name in given(params) if not name.startswith("expected")]
    unkept += [] if params.permission_mode in (None, msgspec.UNSET) else ["permissionMode"]
    answer = {"ok": True, "path": path, "key": key, "entry": entry, "resolved": {}}
    return answer | ({"ignored": unkept} if unkept else {})


async def sessions_delete(call: Call) -> dict[str, Any]:
    params: SessionDelete = call.params
    key = SessionKey(*key_of(call, params.key, params.agent_id).split(":", 2)[1:])
    if not params.delete_transcript:
        raise invalid("a transcript does not outlive its session here; leave deleteTranscript out")
    deleted = not params.archived_only and await call.services.edits.delete(key, params.expected_session_id)
    return {"ok": True, "key": str(key), "deleted": deleted, "archived": []}


async def sessions_create(call: Call) -> dict[str, Any]:
    params: SessionCreate = call.params
    _refuse_unserved(params)
    # What makes this call this call: its idempotency key, within its caller; else nothing but itself.
    once = f"{call.principal.account}\n{params.idempotency_key or uuid.uuid4()}"
    key = _new_key(call, params, uuid.uuid5(_NAMESPACE, once))
    created = await call.services.edits.create(key, params.label)
    row = call.services.sessions.row(str(key))
    text = params.message if params.message is not None else params.task
    answer: dict[str, Any] = {
        "ok": True, "key": str(key), "sessionId": row.session_id if row else None, "entry": row, "created": created,
        "runStarted": False, "resolved": {},
    }  # fmt: skip
    answer |= {"ignored": unkept} if (unkept := given(params)) else {}
    if text is None or not text.strip():
        return answer
    run_id = str(uuid.uuid5(_NAMESPACE, f"{once}\nrun"))
    words = Words(str(key), text, run_id, seconds_of(params.timeout_ms))
    return {**answer, **await say_and_leave(call, words), "runStarted": True}


def _refuse_unserved(params: SessionCreate) -> None:
    refuse_attachments(params.attachments)
    for name, what in _NOT_SERVED.items():
        if getattr(params, name):
            raise invalid(f"{what} are not served")
    if params.fork_from != ABSENT or params.exec_node != ABSENT:
        raise invalid("forks of sessions and sessions on a node are not served")


def _new_key(call: Call, params: SessionCreate, unique: uuid.UUID) -> SessionKey:
    if params.key is not None:
        key = parse_key(key_of(call, params.key, params.agent_id))
        assert key is not None
        agent_of(call, key.agent)
        return key
    return SessionKey(agent_of(call, params.agent_id), f"dashboard:{unique}")


async def sessions_send(call: Call) -> dict[str, Any]:
    params: SessionSend = call.params
    refuse_attachments(params.attachments)
    key = key_of(call, params.key, params.agent_id)
    if not key.endswith(":main") and call.services.sessions.row(key) is None:
        raise invalid(f"there is no session {key}; peergate sessions lists them")
    run_id = params.idempotency_key or str(uuid.uuid4())
    return await say_and_leave(call, Words(key, params.message, run_id, seconds_of(params.timeout_ms), steer=True))


async def sessions_abort(call: Call) -> dict[str, Any]:
    params: SessionAbort = call.params
    if params.key is None and params.run_id is None:
        raise invalid("sessions.abort needs key or runId")
    key = key_of(call, params.key, params.agent_id) if params.key is not None else None
    check_run(call, params.run_id, key)
    active = params.run_id or (call.services.runs.active_run(key) if key else None)
    whole = params.clear_queued and params.run_id is None
    ended: list[str] = []
    if whole or active:
        what = {"session_key": key} if whole else {"run_id": active}
        ended = await call.services.runs.abort(**what, reason="aborted")
    told = active if active in ended else next(iter(ended), None)
    return {"ok": True, "abortedRunId": told, "status": "aborted" if ended else "no-active-run"}


def sessions_subscribe(call: Call) -> dict[str, bool]:
    call.services.hub.hear_sessions(call.connection.id, True)
    return {"subscribed": True}


def sessions_unsubscribe(call: Call) -> dict[str, bool]:
    call.services.hub.hear_sessions(call.connection.id, False)
    return {"subscribed": False}


def messages_subscribe(call: Call) -> dict[str, Any]:
    params: SessionMessages = call.params
    key = key_of(call, params.key, params.agent_id)
    if not call.services.hub.hear_session(call.connection.id, key, True):
        raise unavailable(f"a connection hears of at most {MAX_SUBSCRIPTIONS} sessions; unsubscribe from one first")
    return {"subscribed": True, "key": key}


def messages_unsubscribe(call: Call) -> dict[str, Any]:
    params: SessionMessages = call.params
    key = key_of(call, params.key, params.agent_id)
    call.services.hub.hear_session(call.connection.id, key, False)
    return {"subscribed": False, "key": key}


def _lower(text: str | None) -> str | None:
    return text.strip().lower() if text is not None else None


HANDLERS: dict[str, Handler] = {
    "sessions.list": sessions_list,
    "sessions.describe": sessions_describe,
    "sessions.resolve": sessions_resolve,
    "sessions.preview": sessions_preview,
    "sessions.create": sessions_create,
    "sessions.send": sessions_send,
    "sessions.abort": sessions_abort,
    "sessions.patch": sessions_patch,
    "sessions.reset": sessions_reset,
    "sessions.delete": sessions_delete,
    "sessions.subscribe": sessions_subscribe,
    "sessions.unsubscribe": sessions_unsubscribe,
    "sessions.messages.subscribe": messages_subscribe,
    "sessions.messages.unsubscribe": messages_unsubscribe,
}
