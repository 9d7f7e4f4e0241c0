"""`peergate wake`: something for a session, at once or with its next run."""

from __future__ import annotations

from typing import Any

import click

from supervisor.cli import given
from supervisor.cli.cron.asking import ask_cron
from supervisor.cli.errors import CliError
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.targets import session_key


@command(
    "wake", 'peergate wake "the build is done"', 'peergate wake "the door is open" --mode next-heartbeat',
    'peergate wake "look at the mail" --session agent:scout:main', passthrough=True,
)  # fmt: skip
@click.argument("text")
@click.option("--mode", type=click.Choice(("now", "next-heartbeat")), default="now", show_default=True,
              help="By a run at once, or with the session's next run.")  # fmt: skip
@click.option(
    "--session", "--session-key", metavar="SESSION", help="Which (default: the default agent's main session)."
)
@click.option("--agent", metavar="AGENT", help="Instead of SESSION: this agent's main session.")
def wake(run: Invocation, text: str, mode: str, session: str | None, agent: str | None) -> None:
    """Say TEXT (- reads it from standard input) to a session. Inside an agent: to one of its own.

    --json prints {ok}."""
    if session is not None and agent is not None:
        raise click.UsageError("give --session or --agent, not both")
    params: dict[str, Any] = {"mode": mode, "text": given.message(text, "TEXT")}
    if (named := session or agent) is not None:
        params["sessionKey"] = session_key(named)
    told = ask_cron(run.doors, "wake", params)
    if not told.get("ok"):
        raise CliError("TEXT is empty" if "reason" not in told else "a sub-agent is not woken; wake its parent")
    run.answer(told, lambda: "a run begins" if mode == "now" else "it is said with the session's next run")
