"""The tools that only look: `sessions_list`, `sessions_history`, `session_status`, `agents_list`."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.protocol.calls.sessions import SessionRow
from gateway.protocol.calls.tools import SessionsHistoryArgs, SessionsListArgs, SessionStatusArgs
from gateway.protocol.errors import Refusal
from gateway.protocol.keys import parse_key
from gateway.services.tools.base import ToolCall, failed, ignored, refused

MAX_LIST = 200
MAX_PAGES = 5
MAX_HISTORY_BYTES = 80 * 1024
MAX_TEXT_CHARS = 4000
MAX_MESSAGES_PER_ROW = 20
MAX_PREVIEW_CHARS = 240
UNUSED = (
    "relationship", "owner_id", "creator_id", "project_id", "workspace_dir", "group", "include_derived_titles",
)  # fmt: skip
"""Of `sessions_list`: people, projects and groups there are none of here."""


async def sessions_list(call: ToolCall) -> dict[str, Any]:
    """Sessions the caller may see, newest first."""
    args: SessionsListArgs = call.args
    limit = max(1, min(args.limit, MAX_LIST))
    found: list[SessionRow] = []
    offset, more = max(0, args.offset), True
    for _ in range(MAX_PAGES):
        page, total = call.services.sessions.list_rows(
            agent_id=args.agent_id,
            active_minutes=args.active_minutes,
            label=args.label,
            search=args.search,
            limit=MAX_LIST,
            offset=offset,
        )
        for row in page:
            offset += 1
            if _listed(call, args, row):
                found.append(row)
            if len(found) == limit:
                break
        more = offset < total
        if len(found) == limit or not more:
            break
    result = {
        "count": len(found),
        "sessions": [_list_row(call, row, args) for row in found],
        "hasMore": more,
        "limitApplied": limit,
        "visibility": {"mode": call.services.settings.tools.sessions.visibility},
        **ignored(args, *UNUSED),
    }
    return {**result, "nextOffset": offset} if more else result


def _listed(call: ToolCall, args: SessionsListArgs, row: SessionRow) -> bool:
    key = parse_key(row.key)
    if key is None or args.pinned or args.archived is True or call.may("list", key):
        return False
    if args.kinds is not None and row.kind not in args.kinds:
        return False
    if args.exclude_subagents and key.kind == "subagent":
        return False
    return row.has_active_run or not args.active_only


def _list_row(call: ToolCall, row: SessionRow, args: SessionsListArgs) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(row)
    told["channel"] = "unknown"
    told["displayName"] = row.label or row.key.split(":", 2)[2]
    messages = min(args.message_limit, MAX_MESSAGES_PER_ROW)
    if messages > 0:
        told["messages"] = call.services.sessions.history(row.key, limit=messages)[0]
    if args.include_last_message and (last := call.services.sessions.history(row.key, limit=1)[0]):
        told["lastMessagePreview"] = last[0]["content"][0]["text"][:MAX_PREVIEW_CHARS]
    return told


async def sessions_history(call: ToolCall) -> dict[str, Any]:
    """A session's messages, oldest first; long texts are cut and say so."""
    args: SessionsHistoryArgs = call.args
    try:
        key = call.target(args.session_key)
    except Refusal as refusal:
        return failed(refusal.shape.message)
    if denied := call.may("history", key):
        return refused(denied, sessionKey=str(key))
    if call.services.sessions.row(str(key)) is None:
        return failed(f"there is no session {key}; `sessions_list` shows those there are", sessionKey=str(key))
    limit, offset = max(1, min(args.limit, 1000)), max(0, args.offset)
    messages, total = call.services.sessions.history(str(key), limit=limit, offset=offset)
    if not args.include_tools:
        messages = [message for message in messages if message.get("role") != "toolResult"]
    cut = [_cut(message) for message in messages]
    kept, size = _fit([message for message, _ in cut])
    seen = offset + len(messages)
    result = {
        "sessionKey": str(key),
        "messages": kept,
        "truncated": len(kept) < len(messages),
        "droppedMessages": len(messages) - len(kept),
        "contentTruncated": any(was_cut for _, was_cut in cut),
        "contentRedacted": False,
        "bytes": size,
        "offset": offset,
        "hasMore": seen < total,
        "totalMessages": total,
        **ignored(args, "pending_before", "message_id", "session_id"),
    }
    return {**result, "nextOffset": seen} if seen < total else result


def _cut(message: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    content = message.get("content")
    if not isinstance(content, list):
        return message, False
    long = any(len(part.get("text", "")) > MAX_TEXT_CHARS for part in content)
    if not long:
        return message, False
    parts = [{**part, "text": part["text"][:MAX_TEXT_CHARS] + "…"} if "text" in part else part for part in content]
    return {**message, "content": parts}, True


def _fit(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """The newest messages that fit, and their size in bytes."""
    size, first = 0, len(messages)
    while first > 0:
        more = len(msgspec.json.encode(messages[first - 1]))
        if size + more > MAX_HISTORY_BYTES:
            break
        size, first = size + more, first - 1
    return messages[first:], size


async def session_status(call: ToolCall) -> dict[str, Any]:
    """One session's state as fields and as a line to read."""
    args: SessionStatusArgs = call.args
    try:
        key = call.target(args.session_key or "current")
    except Refusal as refusal:
        return failed(refusal.shape.message)
    if denied := call.may("status", key):
        return refused(denied, sessionKey=str(key))
    row = call.services.sessions.row(str(key))
    children = call.services.runs.active_children(str(key))
    status = row.status if row else "new"
    active = call.services.runs.active_run(str(key))
    return {
        "status": "ok",
        "sessionKey": str(key),
        "agentId": key.agent,
        "sessionStatus": status,
        "activeRunId": active,
        "activeChildren": children,
        "session": msgspec.to_builtins(row) if row else None,
        "statusText": f"Session: {key} • {status} • {children} sub-agents at work",
        **ignored(args, "model", "changes_since"),
    }


async def agents_list(call: ToolCall) -> dict[str, Any]:
    """The agents the caller may start sub-agents of."""
    settings = call.services.settings
    requester = call.session.agent if call.session else settings.default_agent
    allowed = settings.subagents_of(requester).allow_agents if requester in settings.agents.entries else None
    any_agent = call.session is None or (allowed is not None and "*" in allowed)
    names = [
        name
        for name in settings.agents.entries
        if any_agent or name == requester or (allowed is not None and name in allowed)
    ]
    return {
        "requester": requester,
        "allowAny": any_agent,
        "agents": [_agent(call, name) for name in sorted(names, key=lambda name: (name != requester, name))],
    }


def _agent(call: ToolCall, name: str) -> dict[str, Any]:
    agent = call.services.settings.agents.entries[name]
    runtime = msgspec.to_builtins(agent.runtime)["type"]
    row: dict[str, Any] = {"id": name, "configured": True, "agentRuntime": {"id": runtime}}
    return {**row, "name": agent.name} if agent.name else row
