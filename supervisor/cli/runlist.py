"""`peergate runs`: what is under way, what waits and for what, and how the rest ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import click

from gateway.protocol.run_states import RunState
from supervisor.cli import names
from supervisor.cli.asking import ask
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.named import check_agent, check_session
from supervisor.cli.output import span, table
from supervisor.cli.targets import session_key

_BELOW = ("SESSION", "WAITS FOR, OR HOW IT FAILED")


@command(
    "runs",
    "peergate runs",
    "peergate runs --agent scout --state failed",
    "peergate runs --session agent:main:main -n 20",
    "peergate runs --json | jq -r '.runs[] | select(.waits) | .runId'",
)
@click.option(
    "--session", metavar="SESSION", shell_complete=names.sessions, help="Only this session's (a key, or an agent)."
)
@click.option("--agent", metavar="AGENT", shell_complete=names.agents, help="Only this agent's.")
@click.option("--state", type=click.Choice(get_args(RunState)), help="Only those in this state.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
def runs(run: Invocation, session: str | None, agent: str | None, state: str | None, limit: int) -> None:
    """List runs: those at work, then what waits for a worker, then what has ended, the latest first.

    --json prints {runs: [{runId, sessionKey, agentId, state, lane, attempt, createdAt, startedAt, endedAt, text, error,
    stopReason, waits, …}]}."""
    key = session_key(session) if session else None
    wanted = {"sessionKey": key, "agentId": agent, "state": state}
    filters = {name: value for name, value in wanted.items() if value is not None}
    found = _runs(run.doors, filters, limit)
    if not found and agent:
        check_agent(run.doors, agent)
    if not found and key:
        check_session(run.doors, key)
    more = "\n(there are more: -n)" if len(found) == limit else ""
    run.answer({"runs": found}, lambda: f"{runs_text(found)}{more}")


def _runs(doors: Sequence[str], filters: Mapping[str, Any], limit: int) -> list[Mapping[str, Any]]:
    """Those that go on are asked for by themselves: a hundred that ended since must not hide one that hangs."""
    found: dict[str, Mapping[str, Any]] = {}
    for more in ({"unfinished": True}, {}):
        for each in ask(doors, "runs.list", {**filters, **more, "limit": limit}).get("runs") or ():
            found.setdefault(str(each.get("runId")), each)
    # One that ended between the two questions is told as it was at the first.
    return list(found.values())[:limit]


def runs_text(found: Sequence[Mapping[str, Any]], now: float | None = None) -> str:
    """The runs as a table; `now` in seconds since the epoch."""
    if not found:
        return "no runs"
    now_ms = (time.time() if now is None else now) * 1000
    rows = [
        (
            each.get("runId"),
            each.get("state"),
            _between(each.get("createdAt"), now_ms),
            _between(each.get("startedAt"), each.get("endedAt") or now_ms),
            each.get("attempt"),
            each.get("agentId"),
            each.get("sessionKey"),
            each.get("waits") or each.get("error") or each.get("stopReason"),
        )
        for each in found
    ]
    headers = ("RUN", "STATE", "AGE", "TOOK", "TRY", "AGENT", *_BELOW)
    return table(headers, rows, right=("AGE", "TOOK", "TRY"), below=_BELOW)


def _between(since: object, until: object) -> str | None:
    if not isinstance(since, int | float) or not isinstance(until, int | float):
        return None
    return span(max(0.0, until - since))
