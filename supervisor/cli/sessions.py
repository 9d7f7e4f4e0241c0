"""`peergate sessions` and `history`: which conversations there are, and what was said in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from supervisor.cli import names
from supervisor.cli.asking import ask_as
from supervisor.cli.errors import CliError, NotAllowed
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.named import check_agent, check_session, no_session
from supervisor.cli.output import ago, clean, clock, one_line, table
from supervisor.cli.targets import session_key


@command("sessions", "peergate sessions", "peergate sessions --agent main --active 60", "peergate sessions --json")
@click.option("--agent", metavar="AGENT", shell_complete=names.agents, help="Only this agent's.")
@click.option("--spawned-by", metavar="SESSION", shell_complete=names.sessions, help="Only children of this session.")
@click.option("--active", type=click.IntRange(1), metavar="MINUTES", help="Only those used in the last MINUTES.")
@click.option("--search", metavar="TEXT", help="Only those whose key or label holds TEXT.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many at most.")
def sessions(
    run: Invocation, agent: str | None, spawned_by: str | None, active: int | None, search: str | None, limit: int
) -> None:
    """List sessions, the latest first."""
    wanted = {"agentId": agent, "activeMinutes": active, "search": search, "limit": limit}
    filters = {name: value for name, value in wanted.items() if value is not None}
    parent = {"spawnedBy": session_key(spawned_by)} if spawned_by else {}
    told, inside = ask_as(run.doors, ("sessions.list", {**filters, **parent}), ("sessions_list", filters))
    if not told.get("sessions") and not inside:
        if agent:
            check_agent(run.doors, agent)
        if spawned_by:
            check_session(run.doors, session_key(spawned_by))
    run.answer(told, lambda: sessions_text(told))


def sessions_text(told: Mapping[str, Any]) -> str:
    """The sessions as a table, and whether there are more."""
    rows = [
        (
            each.get("key"),
            each.get("status"),
            ago(each.get("updatedAt")),
            each.get("label") or each.get("taskName"),
            each.get("spawnedBy"),
            each.get("lastRunError"),
        )
        for each in told.get("sessions") or ()
    ]
    if not rows:
        return "no sessions"
    text = table(("SESSION", "STATUS", "UPDATED", "LABEL", "PARENT", "ERROR"), rows)
    return f"{text}\n(there are more: -n)" if told.get("hasMore") else text


@command("history", "peergate history main", "peergate history agent:main:main -n 20", "peergate history main --json")
@click.argument("session", shell_complete=names.sessions)
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many messages at most."
)
@click.option("--offset", type=click.IntRange(0), default=0, help="Skip this many of the latest.")
def history(run: Invocation, session: str, limit: int, offset: int) -> None:
    """Print the transcript of SESSION (a key, or an agent for its main session), oldest first."""
    params = {"sessionKey": session_key(session), "limit": limit, "offset": offset}
    told, inside = ask_as(run.doors, ("chat.history", params), ("sessions_history", params))
    if inside and told.get("status") in ("error", "forbidden"):
        refused = NotAllowed if told["status"] == "forbidden" else CliError
        raise refused(f"{params['sessionKey']}: {told.get('error') or told['status']}", fix="peergate sessions")
    if told.get("sessionId", "") is None:
        raise no_session(run.doors, str(params["sessionKey"]))
    run.answer(told, lambda: history_text(told))


def history_text(told: Mapping[str, Any]) -> str:
    """One paragraph for each message."""
    blocks = [_message_text(each) for each in told.get("messages") or ()]
    if told.get("hasMore"):
        blocks.insert(0, "(there are earlier ones: -n, --offset)")
    return "\n".join(blocks) or "nothing was said yet"


def _message_text(message: Mapping[str, Any]) -> str:
    when = clock(message.get("timestamp") or message.get("ts"))
    provenance = message.get("provenance")
    source = provenance.get("sourceSessionKey") if isinstance(provenance, Mapping) else None
    head = f"[{when}] {one_line(message.get('role'))}" + (f" (from {one_line(source)})" if source else "")
    body = clean(content_text(message)).replace("\n", "\n    ")
    return f"{head}\n    {body}"


def content_text(message: Mapping[str, Any]) -> str:
    """The text of a message, whose content is a string or a list of parts."""
    content = message.get("content", message.get("text"))
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) if isinstance(part, Mapping) else str(part) for part in parts)
