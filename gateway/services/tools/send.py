"""`sessions_send`: a message to another session, and its answer if the caller waits for one."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from gateway.protocol.calls.tools import SessionsSend
from gateway.protocol.errors import Refusal
from gateway.protocol.keys import SessionKey, channel_of, is_agent_id, parse_key
from gateway.protocol.limits import MAX_MESSAGE_CHARS, MAX_RUN_SECONDS
from gateway.services.announce import SILENT
from gateway.services.policy import judge_label
from gateway.services.tools.base import ToolCall, failed, ignored, refused
from gateway.services.work import Accepted, NewMessage, RunSnapshot

DELIVERY = {"status": "skipped", "mode": "announce"}
"""OpenClaw announces replies into a chat channel; there are no channels here, so nothing is pending."""


def sessions_send(call: ToolCall) -> dict[str, Any] | Awaitable[dict[str, Any]]:
    """Deliver a message durably; wait up to `timeoutSeconds` for the reply (0: answer `accepted` at once)."""
    args: SessionsSend = call.args
    text = args.message or args.content or args.text or ""
    if wrong := _wrong(args, text):
        return failed(wrong)
    try:
        target = _target(call, args)
    except Refusal as refusal:
        return failed(refusal.shape.message)
    if isinstance(target, str):
        return failed(target)
    run_id = call.own_id("run")
    if denied := call.may("send", target):
        return refused(denied, runId=run_id, sessionKey=str(target))
    if wrong := _unreachable(call, args, target):
        return failed(wrong, sessionKey=str(target))
    message = _message(call, args, target, text, run_id)
    if _waits(args):
        return _send_and_wait(call, args, message)
    return call.admit(message, lambda accepted: _pending(accepted) | ignored(args, "watch"))


async def _send_and_wait(call: ToolCall, args: SessionsSend, message: NewMessage) -> dict[str, Any]:
    accepted: Accepted = await call.admit(message, lambda accepted: accepted)
    return _result(await _wait(call, accepted, args.timeout_seconds), accepted) | ignored(args, "watch")


def _wrong(args: SessionsSend, text: str) -> str | None:
    if not text.strip():
        return "message must not be empty"
    if len(text) > MAX_MESSAGE_CHARS:
        return f"message has {len(text)} characters, at most {MAX_MESSAGE_CHARS} are allowed"
    if args.session_key is None and args.label is None and args.agent_id is None:
        return "name a target: sessionKey, label or agentId"
    if args.label is not None and (wrong := judge_label(args.label)):
        return wrong
    if not 0 <= args.timeout_seconds <= MAX_RUN_SECONDS:
        return f"timeoutSeconds is {args.timeout_seconds}, it must be 0 (do not wait) to {MAX_RUN_SECONDS}"
    if args.mode not in (None, "followup", "steer"):
        return f'mode "{args.mode}" is not served, allowed: followup, steer'
    return None


def _waits(args: SessionsSend) -> bool:
    return args.timeout_seconds > 0 and args.mode != "steer"


def _target(call: ToolCall, args: SessionsSend) -> SessionKey | str:
    """The session meant, or the sentence that says why there is none."""
    if args.session_key is not None:
        target = call.target(args.session_key)
        channel = channel_of(target)
        return f"{target} is a thread; use the parent channel key {channel}" if channel else target
    agent = (args.agent_id or "").strip().lower() or None
    if agent is not None and not is_agent_id(agent):
        return f'agentId "{args.agent_id}" is no agent id: a letter or digit, then letters, digits, _ or -, at most 64'
    if args.label is None:
        return SessionKey(agent or call.acting.agent, "main")
    return _labelled(call, args.label, agent)


def _labelled(call: ToolCall, label: str, agent: str | None) -> SessionKey | str:
    """The one session with a label; of several, the only one the caller may write to."""
    found = [key for text in call.services.sessions.find(label=label, agent_id=agent) if (key := parse_key(text))]
    if not found:
        return f'no session has the label "{label}"; `sessions_list` shows labels'
    within_reach = [key for key in found if call.may("send", key) is None]
    if len(within_reach) > 1:
        return f'several sessions have the label "{label}": {", ".join(map(str, within_reach))}; name one by sessionKey'
    return (within_reach or found)[0]


def _unreachable(call: ToolCall, args: SessionsSend, target: SessionKey) -> str | None:
    entries = call.services.settings.agents.entries
    if target.agent not in entries:
        return (
            f'unknown agentId "{target.agent}" (configured: {", ".join(sorted(entries))}); add it under agents.entries'
        )
    if target.rest != "main" and call.services.sessions.row(str(target)) is None:
        return f"there is no session {target}; `sessions_list` shows those there are"
    if target == call.session and _waits(args):
        return "a session cannot wait for an answer from itself; send with timeoutSeconds 0"
    return None


def _message(call: ToolCall, args: SessionsSend, target: SessionKey, text: str, run_id: str) -> NewMessage:
    return NewMessage(
        run_id=run_id,
        session_key=str(target),
        text=text,
        provenance=_provenance(call),
        lane="main" if call.session is None else f"nested:{target}",
        kind="user" if call.session is None else "inter_session",
        parent_run=call.run_id,
        sender=str(call.session or "operator"),
        steer=args.mode == "steer",
        digest=call.digest,
        key=call.key,
        scope=call.scope,
    )


def _provenance(call: ToolCall) -> dict[str, Any]:
    if call.session is None:
        return {"kind": "external_user"}
    most = call.services.settings.session.agent_to_agent.max_ping_pong_turns
    provenance: dict[str, Any] = {
        "kind": "inter_session",
        "sourceSessionKey": str(call.session),
        "sourceTool": "sessions_send",
    }
    if most:
        provenance["pingPong"] = {"turn": 0, "most": most}
    return provenance


async def _wait(call: ToolCall, accepted: Accepted, seconds: float) -> RunSnapshot:
    runs = call.services.runs
    runs.hold_slot(call.run_id, True)
    try:
        return await runs.wait(accepted.run_id, seconds)
    finally:
        runs.hold_slot(call.run_id, False)


def _pending(accepted: Accepted) -> dict[str, Any]:
    return {
        "runId": accepted.run_id,
        "status": "accepted",
        "sessionKey": accepted.session_key,
        "targetDisposition": accepted.disposition,
        "delivery": dict(DELIVERY),
    }


def _result(run: RunSnapshot, accepted: Accepted) -> dict[str, Any]:
    if not run.ended:
        return _pending(accepted)
    base = {"runId": run.run_id, "sessionKey": run.session_key}
    if run.state == "done":
        if not run.text or run.text.strip() in SILENT:
            return {**base, "status": "no_reply", "message": "the session chose not to answer"}
        return {**base, "status": "ok", "reply": run.text, "delivery": dict(DELIVERY)}
    status = "timeout" if run.state == "timed_out" else "error"
    error = run.error or f"the run ended as {run.state}"
    return {**base, "status": status, "error": error, "sentBeforeError": True}
