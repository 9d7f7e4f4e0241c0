"""`peergate agents`: which agents there are, and holding one of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from supervisor.cli import names
from supervisor.cli.asking import WRITE_PATIENCE, ask, ask_as
from supervisor.cli.invocation import Invocation, command, framed
from supervisor.cli.output import table


@click.group("agents", invoke_without_command=True)
@click.pass_context
def _agents(context: click.Context) -> None:
    """List the configured agents, or hold one of them: stop, restart, quarantine, release."""
    if context.invoked_subcommand is None:
        show(context.ensure_object(Invocation))


agents = framed(
    _agents, "peergate agents", "peergate agents restart scout", "peergate agents quarantine scout --reason loops"
)


def show(run: Invocation) -> None:
    """Print `agents.list`; inside an agent, the agents it may spawn."""
    told, _ = ask_as(run.doors, ("agents.list", {}), ("agents_list", {}))
    run.answer(told, lambda: agents_text(told))


def agents_text(told: dict[str, Any]) -> str:
    """The agents as a table. A gateway lists them under `agents`, by row and by tool."""
    rows: list[Sequence[object]] = [
        (
            f"{each.get('id')}{' *' if each.get('isDefault') or each.get('id') == told.get('defaultId') else ''}",
            each.get("name"),
            _runtime(each),
            each.get("workers", 0),
            _standing(each),
            each.get("held"),
        )
        for each in told.get("agents") or ()
    ]
    headers = ["AGENT", "NAME", "RUNTIME", "WORKERS", "STATE", "WHY, AND WHAT ENDS IT"]
    if not any(row[-1] for row in rows):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    return table(headers, rows, right=("WORKERS",), below=headers[5:])


def _standing(agent: dict[str, Any]) -> str:
    if agent.get("quarantined"):
        return "quarantined"
    return "stopped" if agent.get("stopped") else "ready"


def _runtime(agent: dict[str, Any]) -> object:
    runtime = agent.get("runtime") or agent.get("agentRuntime")
    return runtime.get("type") or runtime.get("id") if isinstance(runtime, dict) else runtime


@command("list", "peergate agents list --json")
def list_agents(run: Invocation) -> None:
    """List the configured agents; * marks the default."""
    show(run)


def _holding(name: str, done: str, what: str) -> click.Command:
    @click.argument("agent", shell_complete=names.agents)
    @click.option("--reason", help="Told to whoever is affected, and logged.")
    def hold(run: Invocation, agent: str, reason: str | None) -> None:
        params = {"agentId": agent} | ({"reason": reason} if reason else {})
        told = ask(run.doors, f"agents.{name}", params, patience=WRITE_PATIENCE)
        run.answer(told, lambda: f"{agent} is {done}")

    hold.__doc__ = what
    return command(name, f"peergate agents {name} scout")(hold)


_agents.add_command(list_agents)
_agents.add_command(_holding("stop", "stopped", "End an agent's workers; its queued runs wait for the next message."))
_agents.add_command(_holding("restart", "restarted", "End an agent's workers and start them again for queued runs."))
_agents.add_command(
    _holding(
        "quarantine",
        "in quarantine",
        "End an agent's workers and start none until it is released, also after a restart.",
    )
)
_agents.add_command(_holding("release", "released", "Let a quarantined agent work again."))
