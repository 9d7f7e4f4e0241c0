"""Asking about jobs: an operator by the methods `cron.*`, a process inside an agent by the tool `cron`. And how a
person names a job: by its id, the beginning of it, or its name.

Which of the two we are is what the gateway said at hello; nothing here chooses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from supervisor.cli.asking import new_key, open_client
from supervisor.cli.errors import CliError, NotAllowed
from supervisor.cli.invocation import Invocation

PAGE = 200
FEWEST = 4
"""Letters of an id that are enough to name a job."""
MOST_COMPLETIONS = 200
_WHOLE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WRAPPED = {"add": "job"}
"""What an action's parameters are called when the tool is used."""
_CHANGING = frozenset({"add", "update", "remove", "run", "wake"})


def ask_cron(doors: Sequence[str], action: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """What an action answers. It is sent once: a job that was made twice is worse than one that has to be looked for.
    Raises CliError."""
    with open_client(doors) as client:
        if client.principal.get("kind") not in ("tool", "worker"):
            told: dict[str, Any] = client.call("wake" if action == "wake" else f"cron.{action}", dict(params))
            return told
        args = {"action": action, **({_WRAPPED[action]: params} if action in _WRAPPED else params)}
        key = {"idempotencyKey": new_key()} if action in _CHANGING else {}
        told = client.call("tools.invoke", {"name": "cron", "args": args, **key})
    if told.get("status") in ("error", "forbidden") and "error" in told:
        refused = NotAllowed if told["status"] == "forbidden" else CliError
        raise refused(f"cron {action}: {told['error']}")
    return told


def every_job(doors: Sequence[str], query: str | None = None) -> list[dict[str, Any]]:
    """All jobs, those that are switched off among them; only those that mention `query`."""
    found: list[dict[str, Any]] = []
    offset: int | None = 0
    wanted = {"enabled": "all", "limit": PAGE, **({"query": query} if query else {})}
    while offset is not None:
        told = ask_cron(doors, "list", {**wanted, "offset": offset})
        found += told.get("jobs") or ()
        offset = told.get("nextOffset")
    return found


def job_id(doors: Sequence[str], text: str) -> str:
    """The id of the job that is meant. Raises CliError unless there is exactly one."""
    if _WHOLE.fullmatch(text):
        return text
    jobs = every_job(doors, text)
    named = [job for job in jobs if job.get("name") == text] or [
        job for job in jobs if len(text) >= FEWEST and str(job.get("id")).startswith(text.lower())
    ]
    if not named:
        raise CliError(f'there is no job "{text}"', fix="peergate cron list --all shows those there are")
    if len(named) > 1:
        ids = "\n  ".join(f"{job.get('id')}  {job.get('name')}" for job in named)
        raise CliError(f'"{text}" names {len(named)} jobs; say which by its id', fix=ids)
    return str(named[0]["id"])


def complete_job(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For a shell: names of jobs, and ids when one is begun."""
    try:
        jobs = every_job(context.ensure_object(Invocation).doors)
    except CliError:  # nothing runs here: there is nothing to complete
        return []
    names, ids = ({str(job[field]): str(job["name"]) for job in jobs} for field in ("name", "id"))
    for words in (names, ids):
        if fitting := [
            CompletionItem(word, help=about) for word, about in words.items() if word.startswith(incomplete)
        ]:
            return fitting[:MOST_COMPLETIONS]
    return []


job_argument = click.argument("job", metavar="JOB", shell_complete=complete_job)
