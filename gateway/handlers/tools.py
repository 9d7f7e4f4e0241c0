"""`tools.invoke`: decode a tool's arguments, settle which session acts, and use the tool. And which tools there are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from gateway.handlers.targets import agent_of
from gateway.protocol.calls.tools import BY_NAME, TOOLS, Tool, ToolsCatalog, ToolsInvoke
from gateway.protocol.errors import forbidden, invalid
from gateway.protocol.frames import EMPTY, JSON, MALFORMED, MSGPACK, Codec
from gateway.protocol.keys import SessionKey, parse_key
from gateway.router import Call, Handler
from gateway.services.tools import Answer, use
from gateway.services.tools.base import ToolCall, digest_of, written

_OUTDATED = {
    "timeoutSeconds": "runTimeoutSeconds",
    "timeout": "runTimeoutSeconds",
    "prompt": "task",
    "name": "taskName",
}
"""Names `sessions_spawn` had in older OpenClaw releases, and what to write now."""
_DECODERS = {
    (codec.name, name): codec.decoder_of(tool.params) for codec in (MSGPACK, JSON) for name, tool in BY_NAME.items()
}


def tools_invoke(call: Call) -> Answer:
    """Use a session tool as the acting session."""
    params: ToolsInvoke = call.params
    tool = BY_NAME.get(params.name)
    if tool is None:
        raise invalid(f'unknown tool "{params.name[:64]}"; the session tools are {", ".join(sorted(BY_NAME))}')
    session = _acting(call, tool, params)
    codec = call.connection.codec
    args = _decode(tool, params, codec)
    run_id = call.services.runs.active_run(str(session)) if call.principal.bound else None
    call.services.runs.touch(run_id)
    use_it = partial(use, tool.name, _use(call, params, session, args, run_id))
    if run_id is None or not call.services.hub.listeners:
        return use_it()
    return _shown(call, run_id, args, use_it)


def _use(call: Call, params: ToolsInvoke, session: SessionKey | None, args: Any, run_id: str | None) -> ToolCall:
    return ToolCall(
        services=call.services,
        session=session,
        scope=call.principal.account,
        args=args,
        key=params.idempotency_key,
        digest=digest_of(params.name, args, bytes(params.args)),
        run_id=run_id,
    )


async def _shown(call: Call, run_id: str, args: Any, use_it: Callable[[], Answer]) -> dict[str, Any]:
    """Tell those who follow the run that it uses a tool, and how that ended."""
    params: ToolsInvoke = call.params
    named = {"name": params.name, "toolCallId": params.idempotency_key or call.id}
    tell = call.services.engine.tell_tool
    tell(run_id, {"phase": "start", **named, "args": written(args)})
    result: dict[str, Any] = {"status": "error"}
    try:
        given = use_it()
        result = await given if isinstance(given, Awaitable) else given
    finally:
        tell(run_id, {"phase": "result", **named, "isError": result.get("status") in ("error", "forbidden")})
    return result


def tools_catalog(call: Call) -> dict[str, Any]:
    """The session tools as one group; there are no plugins."""
    params: ToolsCatalog = call.params
    tools = [
        {"id": one.name, "label": one.name, "description": one.summary, "source": "core", "defaultProfiles": ["full"]}
        for one in TOOLS
    ]
    group = {"id": "sessions", "label": "Sessions", "source": "core", "tools": tools}
    profiles = [{"id": "full", "label": "Full"}]
    return {"agentId": agent_of(call, params.agent_id), "profiles": profiles, "groups": [group]}


def _acting(call: Call, tool: Tool, params: ToolsInvoke) -> SessionKey | None:
    """The session that acts: the principal's own, or the one an operator names."""
    principal = call.principal
    if principal.bound:
        own = parse_key(principal.session or "")
        if own is None:
            raise invalid(f"{principal.name} belongs to no session")
        if params.session_key is not None:
            raise forbidden(
                f"sessionKey cannot be given here: {principal.name} acts as {own} and as nothing else; leave it out",
                principal=principal.name,
            )
        return own
    if not principal.may(tool.scope):
        raise forbidden(
            f"missing scope: {tool.scope}",
            code="MISSING_SCOPE",
            missingScope=tool.scope,
            requiredScopes=[tool.scope],
            principal=principal.name,
        )
    return _named(call, params.session_key) if params.session_key is not None else None


def _named(call: Call, text: str) -> SessionKey:
    key = parse_key(text)
    entries = call.services.settings.agents.entries
    if key is None:
        raise invalid(f'sessionKey "{text[:128]}" is no session key; it looks like agent:main:main')
    if key.agent not in entries:
        raise invalid(f'sessionKey "{key}" names the agent "{key.agent}"; configured: {", ".join(sorted(entries))}')
    return key


def _decode(tool: Tool, params: ToolsInvoke, codec: Codec) -> Any:
    # Left out, the arguments are the row's default: an empty map in msgpack, whatever the caller writes.
    raw = b"{}" if codec is JSON and params.args == EMPTY else params.args
    try:
        return _DECODERS[codec.name, tool.name].decode(raw)
    except MALFORMED as error:
        text = str(error)
        outdated = _OUTDATED if tool.name == "sessions_spawn" else {}
        hint = next((f"; write {new}" for old, new in outdated.items() if f"`{old}`" in text), "")
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(tool.params))
        raise invalid(f"invalid {tool.name} args: {text}{hint} (allowed: {known or 'none'})") from None


HANDLERS: dict[str, Handler] = {"tools.invoke": tools_invoke, "tools.catalog": tools_catalog}
