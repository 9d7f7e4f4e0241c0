"""`sessions_spawn`: start a sub-agent and return at once; its result comes back as an announce."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.protocol.calls.tools import SessionsSpawn
from gateway.protocol.keys import SessionKey, subagent_key
from gateway.protocol.limits import MAX_MESSAGE_CHARS, MAX_RUN_SECONDS
from gateway.services.later import Later
from gateway.services.policy import Admission, judge_label, judge_spawn, judge_task_name
from gateway.services.tools.base import ToolCall, failed, ignored, refused
from gateway.services.work import ChildLimit, NewMessage, SpawnInfo

NOTE = (
    "The result comes back to this session as a completion message of its own. Do other work meanwhile; do not poll. "
    "If it arrives after your last answer and changes nothing, reply with NO_REPLY only."
)
NO_MODEL = "model and thinking changed nothing: the agent's runtime has no model to choose."


def sessions_spawn(call: ToolCall) -> dict[str, Any] | Later:
    """Accept a child run. `forbidden` names the key that would allow it; `error` says what is wrong with the
    arguments."""
    args: SessionsSpawn = call.args
    if wrong := _wrong(args):
        return failed(wrong)
    if call.acting.agent not in call.services.settings.agents.entries:
        return failed(f"the agent {call.acting.agent} is not configured any more (agents.entries)")
    facts = _facts(call, args)
    if denied := judge_spawn(facts):
        return refused(denied, **({"role": facts.target_agent} if denied.code == "unknown_agent" else {}))
    child = subagent_key(facts.target_agent, call.own_id("session"))
    run_id = call.own_id("run")
    result = _accepted(args, child, run_id)
    message = _message(call, args, facts, child, run_id, result)
    return call.admit(message, lambda accepted: result, lambda full: _full(facts, full))


def _full(facts: Admission, full: ChildLimit) -> dict[str, Any]:
    """Two spawns at once: the transaction is what counts, the first look was only a look."""
    denied = judge_spawn(msgspec.structs.replace(facts, children=full.active, max_children=full.limit))
    return refused(denied) if denied else failed(str(full))


def _wrong(args: SessionsSpawn) -> str | None:
    if not args.task.strip():
        return "task must not be empty: say what the sub-agent is to do"
    if len(args.task) > MAX_MESSAGE_CHARS:
        return f"task has {len(args.task)} characters, at most {MAX_MESSAGE_CHARS} are allowed"
    if args.label is not None and (wrong := judge_label(args.label)):
        return wrong
    if args.task_name is not None and (wrong := judge_task_name(args.task_name)):
        return wrong
    if args.run_timeout_seconds is not None and not 0 <= args.run_timeout_seconds <= MAX_RUN_SECONDS:
        return f"runTimeoutSeconds is {args.run_timeout_seconds}, it must be 0 (none) to {MAX_RUN_SECONDS}"
    for name, value, allowed in (
        ("runtime", args.runtime, ("subagent",)),
        ("mode", args.mode, ("run",)),
        ("cleanup", args.cleanup, ("keep", "delete")),
        ("context", args.context, ("isolated",)),
        ("sandbox", args.sandbox, ("inherit",)),
        ("completionTarget", args.completion_target or "parent", ("parent",)),
    ):
        if value not in allowed:
            return f'{name} "{value}" is not served, allowed: {", ".join(allowed)}'
    if args.thread:
        return "thread: true is not served, there are no channels; leave it out"
    if args.cwd is not None:
        return "cwd is the agent's own: set agents.entries.<id>.cwd and leave it out here"
    return None


def _facts(call: ToolCall, args: SessionsSpawn) -> Admission:
    services, requester = call.services, call.acting
    rules = services.settings.subagents_of(requester.agent)
    target = (args.agent_id or requester.agent).strip().lower()
    return Admission(
        requester=requester,
        target_agent=target,
        named=args.agent_id is not None,
        configured=list(services.settings.agents.entries),
        # An operator who names no session is bound by no agent's list.
        allow_agents=["*"] if call.session is None else rules.allow_agents,
        require_agent_id=rules.require_agent_id,
        depth=call.depth,
        max_depth=rules.max_spawn_depth,
        children=services.runs.active_children(str(requester)),
        max_children=rules.max_children_per_agent,
    )


def _message(
    call: ToolCall, args: SessionsSpawn, facts: Admission, child: str, run_id: str, result: dict[str, Any]
) -> NewMessage:
    rules = call.services.settings.subagents_of(facts.requester.agent)
    timeout = args.run_timeout_seconds if args.run_timeout_seconds is not None else rules.run_timeout_seconds
    return NewMessage(
        run_id=run_id,
        session_key=child,
        text=args.task,
        provenance=_provenance(facts.requester),
        lane="subagent",
        kind="task",
        parent_run=call.run_id,
        sender=str(facts.requester),
        timeout_s=timeout or None,
        label=args.label,
        spawn=SpawnInfo(
            spawned_by=str(facts.requester),
            depth=facts.depth + 1,
            label=args.label,
            task_name=args.task_name,
            cleanup=args.cleanup,
            expects_completion=args.expects_completion_message,
            max_children=facts.max_children,
        ),
        record=call.record(result),
        digest=call.digest,
        key=call.key,
    )


def _provenance(requester: SessionKey) -> dict[str, Any]:
    return {"kind": "inter_session", "sourceSessionKey": str(requester), "sourceTool": "sessions_spawn"}


def _accepted(args: SessionsSpawn, child: str, run_id: str) -> dict[str, Any]:
    named: dict[str, Any] = {"taskName": args.task_name} if args.task_name else {}
    unused = ignored(args, "model", "thinking", "light_context")
    note = f"{NOTE} {NO_MODEL}" if args.model or args.thinking else NOTE
    if args.model or args.thinking:
        named["modelApplied"] = False
    if args.light_context:
        note += " lightContext changed nothing: the whole context there is, is the task."
    return {
        "status": "accepted",
        "childSessionKey": child,
        "runId": run_id,
        "mode": args.mode,
        "expectsCompletionMessage": args.expects_completion_message,
        "context": args.context,
        **named,
        **unused,
        "note": note,
    }
