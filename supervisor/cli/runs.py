"""`peergate wait` and `abort`: runs that are under way."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from supervisor.cli import names
from supervisor.cli.asking import WRITE_PATIENCE, ask, open_client, use_tool
from supervisor.cli.errors import FAILED, CliError, Usage
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.named import no_session, session_exists
from supervisor.cli.output import clean, note, one_line
from supervisor.cli.targets import session_key

CHUNK_SECONDS = 25.0
"""One `agent.wait` on the wire; a longer wait asks again, so that it survives any number of gateways."""
PENDING = "pending"
ENDED = {
    "failed": "failed", "aborted": "was aborted", "interrupted": "was interrupted", "timed_out": "ran out of time",
    "error": "failed", "timeout": "ran out of time",
}  # fmt: skip
"""How a run ended, by its state, or by its status where that is all that is known."""


@command(
    "wait",
    "peergate wait 5d0c…",
    "peergate wait 5d0c… --timeout 600",
    "peergate spawn … --json | jq -r .runId | xargs peergate wait",
)
@click.argument("run_id", metavar="RUN")
@click.option(
    "--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Give up after this long (default: never)."
)
def wait(run: Invocation, run_id: str, timeout: float | None) -> None:
    """Wait until RUN has ended and print its reply. Exit code 1 when it failed or still runs.

    --json prints {runId, status: ok|error|timeout|pending, sessionKey, state, startedAt, endedAt, error, reply}.
    Inside an agent, RUN must be one of the caller's own sub-agents."""
    if _inside(run.doors):
        result = _await_child(run.doors, run_id, timeout)
    else:
        result = await_run(run.doors, run_id, None if timeout is None else time.monotonic() + timeout)
    run.answer(result, lambda: run_text(result))
    if code := run_exit(result):
        click.get_current_context().exit(code)


def _inside(doors: Sequence[str]) -> bool:
    """Whether the gateway knows us as a process inside an agent, which has the session tools and nothing else."""
    with open_client(doors) as client:
        return client.principal.get("kind") in ("tool", "worker")


def _cancel_child(doors: Sequence[str], child: str) -> dict[str, Any]:
    """End one of the caller's own sub-agents, in the shape of `chat.abort`."""
    told = use_tool(doors, "subagents", {"action": "cancel", "taskId": child})
    if told.get("status") != "ok":
        raise CliError(f"{child} was not aborted: {told.get('error') or told.get('status')}")
    ended = list(told.get("cancelled") or ())
    return {"ok": True, "aborted": bool(ended), "runIds": ended}


def await_run(doors: Sequence[str], run_id: str, until: float | None) -> dict[str, Any]:
    """How a run ended, or `pending` when `until` (monotonic seconds) came first. Outlives gateways, and says once why
    it waits for its agent."""
    told = None
    while True:
        left = CHUNK_SECONDS if until is None else max(0.0, min(CHUNK_SECONDS, until - time.monotonic()))
        params = {"runId": run_id, "timeoutMs": int(left * 1000)}
        result: dict[str, Any] = ask(doors, "agent.wait", params, timeout=left + 30, patience=WRITE_PATIENCE)
        if result.get("status") != PENDING or (until is not None and time.monotonic() >= until):
            return result
        if (why := result.get("waits")) and why != told:
            told = why
            note(f"still {one_line(result.get('state'))}: {one_line(why, 2000)}")


def _await_child(doors: Sequence[str], run_id: str, timeout: float | None) -> dict[str, Any]:
    """The same for a process inside an agent: the session tool takes the result, so it is not announced again."""
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        left = CHUNK_SECONDS if until is None else max(0.0, min(CHUNK_SECONDS, until - time.monotonic()))
        args = {"action": "wait", "taskIds": [run_id], "timeoutSeconds": left}
        told = use_tool(doors, "subagents", args, timeout=left + 30)
        if results := told.get("results"):
            return {"runId": results[0].get("taskId"), "reply": results[0].get("result"), **results[0]}
        if told.get("status") in ("error", "forbidden"):
            return {"runId": run_id, **told}
        if until is not None and time.monotonic() >= until:
            return {"runId": run_id, "status": PENDING}


def run_exit(result: Mapping[str, Any]) -> int:
    """0 for a run that ended well."""
    return 0 if result.get("status") == "ok" else FAILED


def run_text(result: Mapping[str, Any]) -> str:
    """The reply, or what there is instead of one."""
    status = result.get("status")
    if status == "ok":
        return clean(str(result.get("reply") or "(it ended without a reply)"))
    if status == PENDING:
        why = f" ({one_line(result['waits'], 2000)})" if result.get("waits") else ""
        return f"still {one_line(result.get('state') or 'running')}{why}: peergate wait {one_line(result.get('runId'))}"
    state = str(result.get("state") or status)
    why = one_line(result.get("error") or result.get("stopReason") or "no reason was given", 2000)
    partial = result.get("reply")
    ended = f"run {one_line(result.get('runId'))} {ENDED.get(state) or one_line(state)}: {why}"
    return ended + (f"\n{clean(str(partial))}" if partial else "")


@command("abort", "peergate abort agent:main:main", "peergate abort main", "peergate abort --run 5d0c…")
@click.argument("session", required=False, shell_complete=names.sessions)
@click.option("--run", "run_id", metavar="RUN", help="Only this run.")
@click.option("--reason", help="Told to whoever waits for it.")
def abort(run: Invocation, session: str | None, run_id: str | None, reason: str | None) -> None:
    """Abort what SESSION (a key, or an agent) is doing, or one RUN, and everything it started. Inside an agent
    it must be one of the caller's own sub-agents.

    --json prints {ok, aborted, runIds[]}."""
    if session is None and run_id is None:
        raise Usage("say what to abort: a session, an agent, or --run RUN")
    if _inside(run.doors):
        told = _cancel_child(run.doors, run_id or session or "")
    else:
        params = {"sessionKey": session_key(session) if session else None, "runId": run_id, "reason": reason}
        given = {key: value for key, value in params.items() if value}
        told = ask(run.doors, "chat.abort", given, patience=WRITE_PATIENCE)
        if session and not told.get("aborted") and not session_exists(run.doors, session_key(session)):
            raise no_session(run.doors, session_key(session))
    runs = ", ".join(map(str, told.get("runIds") or ()))
    run.answer(told, lambda: f"aborted {one_line(runs)}" if told.get("aborted") else "nothing was running")
