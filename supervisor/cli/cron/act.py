"""`peergate cron enable`, `disable`, `rm` and `run`: one job, and what is to be done about it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from supervisor.cli.cron.asking import ask_cron, job_argument, job_id
from supervisor.cli.cron.words import entry_text, when_text
from supervisor.cli.errors import FAILED, CliError
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import note, one_line

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two looks for the end of a run."""
REASONS = {
    "not-due": "it is not due", "already-running": "it runs already", "disabled": "it is switched off",
    "stopped": "the gateway is being stopped", "invalid-spec": "its schedule cannot be read",
    "ownerless": "its agent is gone",
}  # fmt: skip


def _switch(word: str, on: bool) -> click.Command:
    @job_argument
    def switch(run: Invocation, job: str) -> None:
        params = {"id": job_id(run.doors, job), "patch": {"enabled": on}}
        told = ask_cron(run.doors, "update", params)
        run.answer(told, lambda: f"{word}d {one_line(told.get('name'))}\n{when_text(told)}")

    switch.__doc__ = f"Switch a job {'on; it begins anew' if on else 'off, and keep it'}. --json prints the job."
    return command(word, f"peergate cron {word} mail")(switch)


enable, disable = _switch("enable", True), _switch("disable", False)


@command("rm", "peergate cron rm mail", "peergate cron rm 5d0c1f22 --json")
@job_argument
def remove(run: Invocation, job: str) -> None:
    """Remove a job. A run of it that goes on goes on; what ran before stays in peergate cron runs."""
    identity = job_id(run.doors, job)
    told = ask_cron(run.doors, "remove", {"id": identity})
    if not told.get("removed"):
        raise CliError(f"there is no job {identity}", fix="peergate cron list --all shows those there are")
    run.answer(told, lambda: f"removed {one_line(job)}")


@command("run", "peergate cron run mail", "peergate cron run mail --wait", "peergate cron run report --due --json")
@job_argument
@click.option("--due", is_flag=True, help="Only if it is due.")
@click.option("--wait", "to_the_end", is_flag=True, help="Wait until the run has ended, and print its result.")
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait this long (default: to the end).")
def run_now(run: Invocation, job: str, due: bool, to_the_end: bool, timeout: float | None) -> None:
    """Run a job now, beside its schedule. With --wait, exit code 0 only when the run ended well.

    --json prints {ok, enqueued, runId}; with --wait also its line of the log as entry."""
    identity = job_id(run.doors, job)
    told = ask_cron(run.doors, "run", {"id": identity, **({"mode": "due"} if due else {})})
    if not told.get("enqueued"):
        reason = str(told.get("reason"))
        run.answer(told, lambda: "")
        note(f"peergate: {one_line(job)} was not run: {REASONS.get(reason, one_line(reason))}")
        click.get_current_context().exit(FAILED)
    if not to_the_end:
        identity_words = (
            f"accepted: run {one_line(told.get('runId'))}\nto see what came of it: peergate cron runs {job}"
        )
        run.answer(told, lambda: identity_words)
        return
    entry = await_entry(run.doors, identity, str(told["runId"]), timeout)
    run.answer({**told, "entry": entry}, lambda: entry_text(entry))
    if entry.get("status") != "ok":
        click.get_current_context().exit(FAILED)


def await_entry(doors: Sequence[str], job: str, run_id: str, timeout: float | None) -> dict[str, Any]:
    """The line of the log of a run, once it has ended. Raises CliError when `timeout` seconds were not enough."""
    until = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        entries = ask_cron(doors, "runs", {"id": job, "runId": run_id, "limit": 1}).get("entries")
        if entries:
            entry: dict[str, Any] = entries[0]
            return entry
        if until is not None and time.monotonic() + pause >= until:
            raise CliError(
                f"the run {run_id} has not ended within {timeout:g} s",
                fix=f"peergate cron runs {job} --run-id {run_id}",
            )
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 1.5)
