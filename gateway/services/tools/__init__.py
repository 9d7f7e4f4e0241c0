"""The session tools by name, and the one way to use one.

A call with an idempotency key that was answered before gets that answer; with other arguments it is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from gateway.protocol.calls.tools import BY_NAME
from gateway.services.tools.base import ToolCall, refused
from gateway.services.tools.cron import cron
from gateway.services.tools.look import agents_list, session_status, sessions_history, sessions_list
from gateway.services.tools.send import sessions_send
from gateway.services.tools.spawn import sessions_spawn
from gateway.services.tools.subagents import subagents

Answer = dict[str, Any] | Awaitable[dict[str, Any]]
TOOLS: dict[str, Callable[[ToolCall], Answer]] = {
    "sessions_spawn": sessions_spawn,
    "sessions_send": sessions_send,
    "sessions_list": sessions_list,
    "sessions_history": sessions_history,
    "session_status": session_status,
    "subagents": subagents,
    "agents_list": agents_list,
    "cron": cron,
}
# A send is known again by its run's id; whether its key was used for something else is asked where it is accepted.
_RECORDED = {name for name, tool in BY_NAME.items() if tool.effect != "pure"} - {"sessions_send"}
if TOOLS.keys() != BY_NAME.keys():
    raise AssertionError(f"tools and their rows differ: {TOOLS.keys() ^ BY_NAME.keys()}")


def use(name: str, call: ToolCall) -> Answer:
    """Carry out one call of the tool `name`: the answer, or what will have it. Raises Refusal, now or then."""
    if denied := call.may_use(name):
        return refused(denied)
    if call.key is not None and name in _RECORDED:
        known = call.services.idempotency.recall(call.scope, call.key, call.digest)
        if known is not None:
            answer: dict[str, Any] = known
            return answer
    return TOOLS[name](call)
