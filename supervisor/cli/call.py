"""`peergate call`: any method of the gateway, by its name on the wire."""

from __future__ import annotations

from typing import Any

import click

from supervisor.cli.asking import ask, ask_with_key, open_client
from supervisor.cli.errors import CallRefused, Usage
from supervisor.cli.given import json_object
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import print_json


@command(
    "call",
    "peergate call health",
    """peergate call sessions.list '{"agentId": "main"}'""",
    """echo '{"sessionKey": "agent:main:main"}' | peergate call chat.history -""",
    "peergate call --methods",
    passthrough=True,
)
@click.argument("method", required=False)
@click.argument("params", required=False, default="{}")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="Seconds to wait for the answer.",
)
@click.option("--methods", is_flag=True, help="List the methods this caller may use.")
def call(run: Invocation, method: str | None, params: str, timeout: float, methods: bool) -> None:
    """Call METHOD with PARAMS (a JSON object, or - to read one from standard input) and print what it answers, as JSON.

    A call with an idempotencyKey is sent again when the gateway dies in the middle; any other is sent once."""
    if methods:
        with open_client(run.doors) as client:
            features = client.hello.get("features") or {}
            print_json(sorted(features.get("methods") or []))
        return
    if not method:
        raise Usage("name a method", fix="peergate call --methods lists them")
    print_json(_ask(run, method, json_object(params), timeout))


def _ask(run: Invocation, method: str, params: dict[str, Any], timeout: float) -> Any:
    try:
        if "idempotencyKey" in params:
            return ask_with_key(run.doors, method, params, timeout=timeout)
        return ask(run.doors, method, params, timeout=timeout, patience=0)
    except CallRefused as error:
        # Who may not do everything is told of a method there is not what is told of one that is not theirs.
        if error.details.get("code") == "MISSING_SCOPE" or error.message.startswith("unknown method: "):
            error.fix = "peergate call --methods lists those you may call"
        raise
