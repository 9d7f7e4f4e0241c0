"""`peergate cron list`, `show`, `runs` and `status`: what there is, and what came of it."""

from __future__ import annotations

from typing import Any

import click

from supervisor.cli.cron.asking import ask_cron, complete_job, job_argument, job_id
from supervisor.cli.cron.words import job_text, jobs_text, moment, runs_text, until
from supervisor.cli.errors import CliError
from supervisor.cli.invocation import Invocation, command

SORTS = {"next": "nextRunAtMs", "updated": "updatedAtMs", "name": "name"}


@command("list", "peergate cron list", "peergate cron list --all --agent scout", "peergate cron list --json")
@click.option("--all", "all_of_them", is_flag=True, help="Those that are switched off as well.")
@click.option("--agent", metavar="AGENT", help="Only this agent's.")
@click.option("--query", metavar="TEXT", help="Only those that mention TEXT.")
@click.option("--sort", type=click.Choice(tuple(SORTS)), default="next", show_default=True, help="In which order.")
@click.option("--desc", is_flag=True, help="The other way round.")
@click.option("-n", "--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="How many at most.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Skip this many.")
def list_jobs(
    run: Invocation, all_of_them: bool, agent: str | None, query: str | None, sort: str, desc: bool, limit: int,
    offset: int,
) -> None:  # fmt: skip
    """List jobs, the next one first. --json prints {jobs[], total, offset, limit, hasMore, nextOffset}."""
    wanted: dict[str, Any] = {"includeDisabled": all_of_them, "limit": limit, "offset": offset}
    named = {"agentId": agent, "query": query, "sortBy": SORTS[sort] if sort != "next" else None}
    named["sortDir"] = "desc" if desc else None
    told = ask_cron(run.doors, "list", wanted | {name: value for name, value in named.items() if value is not None})
    run.answer(told, lambda: jobs_text(told, every=all_of_them))


@command("show", "peergate cron show mail", "peergate cron show 5d0c1f22 --json")
@job_argument
def show(run: Invocation, job: str) -> None:
    """Print one job, named by its name or by (the beginning of) its id. --json prints the job."""
    told = ask_cron(run.doors, "get", {"id": job_id(run.doors, job)})
    run.answer(told, lambda: job_text(told))


@command("runs", "peergate cron runs", "peergate cron runs mail -n 5", "peergate cron runs mail --status error --json")
@click.argument("job", metavar="[JOB]", required=False, shell_complete=complete_job)
@click.option("--id", "identity", metavar="JOB", shell_complete=complete_job, help="The same as JOB.")
@click.option("--run-id", metavar="RUN", help="Only this run.")
@click.option("--status", type=click.Choice(("ok", "error", "skipped")), help="Only those that ended so.")
@click.option("-n", "--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="How many at most.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Skip this many.")
def runs(
    run: Invocation, job: str | None, identity: str | None, run_id: str | None, status: str | None, limit: int,
    offset: int,
) -> None:  # fmt: skip
    """List runs that have ended, the latest first.

    Of JOB, or of all jobs. --json prints {entries[], total, offset, limit, hasMore, nextOffset}; slotMs of an entry is
    the instant of the schedule that the run is for."""
    if job is not None and identity is not None:
        raise click.UsageError("give JOB or --id, not both")
    wanted: dict[str, Any] = {"limit": limit, "offset": offset}
    if (meant := job or identity) is not None:
        wanted["id"] = _seen(run, meant)
    wanted |= {name: value for name, value in (("runId", run_id), ("status", status)) if value is not None}
    told = ask_cron(run.doors, "runs", wanted)
    run.answer(told, lambda: runs_text(told))


def _seen(run: Invocation, text: str) -> str:
    """The id of a job that is there, or that was: one which ran once is gone, and its runs are not."""
    try:
        return job_id(run.doors, text)
    except CliError as error:
        told = ask_cron(run.doors, "runs", {"query": text, "limit": 200})
        gone = {str(each["jobId"]) for each in told.get("entries") or () if text == each.get("jobName")}
        if len(gone) > 1:
            ids = "\n  ".join(sorted(gone))
            raise CliError(f'"{text}" names {len(gone)} jobs that are gone; say which by its id', fix=ids) from None
        if not gone:
            raise error from None
        return gone.pop()


@command("status", "peergate cron status", "peergate cron status --json")
def status(run: Invocation) -> None:
    """Say whether jobs are run, and when the next is due."""
    told = ask_cron(run.doors, "status", {})
    due = told.get("nextWakeAtMs")
    work = "at work" if told.get("enabled") else "switched off (cron.enabled)"
    then = f", the next at {moment(due)} ({until(due)})" if due is not None else ""
    run.answer(told, lambda: f"{work}, {told.get('jobs')} jobs{then}")
