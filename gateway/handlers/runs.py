"""Runs: start one and hear how it ends, wait for one, list them."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import msgspec

from gateway.handlers.targets import key_of, main_of
from gateway.protocol.calls.runs import Agent, AgentWait, RunResult, RunRow, RunsList, after_reset
from gateway.protocol.errors import ErrorCode, Refusal, invalid
from gateway.protocol.limits import MAX_RUN_SECONDS
from gateway.router import Call, Handler
from gateway.services.policy import judge_label
from gateway.services.work import Accepted, NewMessage, RunSnapshot, whole_ms

_SUMMARY = {"done": "completed", "aborted": "aborted"}
BEGUN_ANEW = "The session begins anew."


class Words(msgspec.Struct, frozen=True):
    """What somebody says to a session, however they call it. `timeout_s`: None is the configured one, 0 none."""

    key: str
    text: str
    run_id: str
    timeout_s: int | None = None
    label: str | None = None
    steer: bool = False


def runs_list(call: Call) -> dict[str, Any]:
    params: RunsList = call.params
    found = call.services.runs.list_runs(
        session=_lower(params.session_key),
        agent=_lower(params.agent_id),
        parent_session=_lower(params.spawned_by),
        state=params.state,
        unfinished=params.unfinished,
        limit=max(1, min(params.limit, 1000)),
        offset=max(0, params.offset),
    )
    return {"runs": [_row(run) for run in found]}


async def agent(call: Call) -> dict[str, Any]:
    """Two answers: `accepted` when it is on disk, the result when the run has ended. For an idempotency key that was
    used before, the first says `in_flight`, and is left out when the run has ended already."""
    params: Agent = call.params
    refuse_attachments(params.attachments)
    key, run_id, rest = _target(call, params), params.idempotency_key, after_reset(params.message)
    words = Words(key, params.message if rest is None else rest, run_id, params.timeout, params.label)
    if rest == "":
        await _begin_anew(call, key, run_id)
        return _begun_anew(key, run_id)
    message = _message(call, words)
    if rest is not None and call.services.runs.snapshot(run_id) is None:
        call.services.runs.check(message)  # it must not be refused when what was said before is gone
        await _begin_anew(call, key, run_id)
    accepted = await _accept(call, message)
    run = call.services.runs.snapshot(accepted.run_id)
    if accepted.created or run is None or not run.ended:
        status = "accepted" if accepted.created else "in_flight"
        named = {"runId": accepted.run_id, "sessionKey": key, "agentId": key.split(":")[1]}
        call.answer_now({**named, "status": status, "acceptedAt": round(accepted.accepted_at)})
    run = await call.services.runs.wait(accepted.run_id, math.inf)
    final = _final(run)
    if run.status == "ok":
        return final
    raise Refusal(ErrorCode.UNAVAILABLE, run.error or f"the run ended as {run.state}", details=final)


async def agent_wait(call: Call) -> RunResult:
    params: AgentWait = call.params
    _follow(call, params.run_id)
    run = await call.services.runs.wait(params.run_id, max(0, params.timeout_ms) / 1000)
    return RunResult(
        run_id=run.run_id,
        status=run.status,
        session_key=run.session_key,
        state=run.state,
        started_at=whole_ms(run.started_at),
        ended_at=whole_ms(run.ended_at),
        error=run.error,
        stop_reason=run.stop_reason,
        reply=run.text if run.ended else None,
        waits=run.waits,
    )


async def say(call: Call, words: Words) -> Accepted:
    """Give a session a message; the connection hears of the tools of the run. Raises what `Runs.accept` raises, and
    Refusal for what makes no sense."""
    return await _accept(call, _message(call, words))


def _message(call: Call, words: Words) -> NewMessage:
    if not words.text.strip():
        raise invalid("message must not be empty")
    if words.timeout_s is not None and not 0 <= words.timeout_s <= MAX_RUN_SECONDS:
        raise invalid(f"timeout is {words.timeout_s}, it must be 0 (none) to {MAX_RUN_SECONDS} seconds")
    if words.label is not None and (wrong := judge_label(words.label)):
        raise invalid(wrong)
    # Not the label: a caller that learns a better name must not start a second run.
    digest = hashlib.sha256(f"{words.key}\n{words.text}".encode()).hexdigest()
    return NewMessage(
        run_id=words.run_id,
        session_key=words.key,
        text=words.text,
        timeout_s=words.timeout_s,
        label=words.label,
        sender=call.principal.account,
        digest=digest,
        steer=words.steer,
    )


async def _accept(call: Call, message: NewMessage) -> Accepted:
    accepted = await call.services.runs.accept(message)
    _follow(call, accepted.run_id)
    return accepted


def _follow(call: Call, run_id: str) -> None:
    """Only a run that goes on: its end is what ends the following."""
    if call.services.runs.unfinished([run_id]):
        call.services.hub.follow(call.connection.id, run_id)


async def say_and_leave(call: Call, words: Words) -> dict[str, Any]:
    """Give a session a message and answer at once: `started`, or how the run of this key stands."""
    accepted = await say(call, words)
    if accepted.created:
        return {"runId": accepted.run_id, "status": "started"}
    run = call.services.runs.snapshot(accepted.run_id)
    status = run.status if run is not None and run.ended else "in_flight"
    return {"runId": accepted.run_id, "status": status}


def seconds_of(timeout_ms: int | None) -> int | None:
    """Milliseconds as a run's time is given, rounded up."""
    return None if timeout_ms is None else math.ceil(timeout_ms / 1000)


def refuse_attachments(attachments: tuple[msgspec.Raw, ...] | None) -> None:
    """A message whose picture silently stayed away would be answered wrongly."""
    if attachments:
        raise invalid("attachments are not served; send text")


def _target(call: Call, params: Agent) -> str:
    if params.session_key is not None:
        return key_of(call, params.session_key, params.agent_id)
    if params.session_id is not None:
        found = call.services.sessions.find(session_id=params.session_id)
        if not found:
            raise invalid(f'there is no session with the sessionId "{params.session_id[:64]}"')
        return key_of(call, found[0], params.agent_id)
    return main_of(call, params.agent_id)


async def _begin_anew(call: Call, key: str, run_id: str) -> None:
    """Once for one idempotency key, however often it is sent: what was said since must not go."""
    services, scope, digest = call.services, call.principal.account, hashlib.sha256(key.encode()).hexdigest()
    if services.idempotency.recall(scope, f"new:{run_id}", digest) is None:
        await services.runs.reset(key)
        await services.idempotency.record(scope, f"new:{run_id}", digest, {"key": key})


def _begun_anew(key: str, run_id: str) -> dict[str, Any]:
    result = {"payloads": [{"text": BEGUN_ANEW}], "meta": {"durationMs": 0}}
    return {"runId": run_id, "sessionKey": key, "status": "ok", "summary": "completed", "result": result}


def _lower(text: str | None) -> str | None:
    return text.strip().lower() if text is not None else None


def _row(run: RunSnapshot) -> RunRow:
    row = {name: getattr(run, name) for name in RunRow.__struct_fields__}
    return RunRow(**row | {name: whole_ms(row[name]) for name in ("created_at", "started_at", "ended_at")})


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
    "runs.list": runs_list,
    "agent": agent,
    "agent.wait": agent_wait,
}
