"""`tools.invoke`: decode a tool's arguments, settle which session acts, and use the tool."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.protocol.calls.tools import BY_NAME, Tool, ToolsInvoke
from gateway.protocol.errors import forbidden, invalid
from gateway.protocol.frames import EMPTY, JSON, MALFORMED, MSGPACK, Codec
from gateway.protocol.keys import SessionKey, parse_key
from gateway.router import Call, Handler
from gateway.services.tools import use
from gateway.services.tools.base import ToolCall, digest_of

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


async def tools_invoke(call: Call) -> dict[str, Any]:
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
    return await use(
        tool.name,
        ToolCall(
            services=call.services,
            session=session,
            scope=call.principal.account,
            args=args,
            key=params.idempotency_key,
            digest=digest_of(tool.name, args, bytes(params.args)),
            run_id=run_id,
        ),
    )


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


HANDLERS: dict[str, Handler] = {"tools.invoke": tools_invoke}
