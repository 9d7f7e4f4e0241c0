"""What the methods of an agent's context return and raise, as an agent's author sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from agentproc.inbox import Announce


class ToolRefused(Exception):
    """A tool call was refused. `code` is the gateway's word, the text says why and what would allow it."""

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = dict(details or {})


class SpawnRefused(Exception):
    """No sub-agent was started. `status` is forbidden (a limit or a policy, named in the text) or error."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


class Child(msgspec.Struct, frozen=True):
    """A sub-agent at work. Its result comes as an announce with the same `run_id`."""

    session_key: str
    run_id: str


class SendResult(msgspec.Struct, frozen=True):
    """What became of a message to another session.

    `status` is ok (`reply` is the answer), accepted (it is on its way; no answer within the time), no_reply, timeout,
    error or forbidden (`error` says why)."""

    status: str
    reply: str | None = None
    run_id: str | None = None
    session_key: str | None = None
    error: str | None = None


class Finished(list[Announce]):
    """Finished sub-agents whose results were taken: a list of announces. `pending` counts those asked about that still
    went on then (all children of the session when none was named)."""

    def __init__(self, announces: Iterable[Announce] = (), pending: int = 0) -> None:
        super().__init__(announces)
        self.pending = pending


def finished_in(tool: str, result: Mapping[str, Any]) -> list[Announce]:
    """The finished sub-agents whose results a tool's answer tells."""
    rows = result.get("results") or () if tool == "subagents" else ()
    return [
        Announce(
            child_session_key=str(row.get("childSessionKey") or ""),
            run_id=str(row.get("taskId") or ""),
            status=str(row.get("status", "unknown")),
            result=str(row.get("result") or ""),
            label=row.get("label"),
            task_name=row.get("taskName"),
            error=row.get("error"),
        )
        for row in rows
    ]


class ActionFailed(Exception):
    """An action of `ctx.once` failed in an earlier attempt of this run and must not be repeated; the text is its
    error."""


class Begun(msgspec.Struct, frozen=True):
    """An action as the gateway knows it. `state`: intent (do it now), done (`result` is its result), failed (`result`
    is the error's text)."""

    call: str
    name: str
    effect: str
    state: str
    result: Any = None
