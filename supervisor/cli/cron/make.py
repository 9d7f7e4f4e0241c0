"""`peergate cron add` and `edit`: the flags a job is described with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from supervisor.cli.cron.asking import ask_cron, job_argument, job_id
from supervisor.cli.cron.given import fields_of
from supervisor.cli.cron.words import when_text
from supervisor.cli.errors import CliError, Usage
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import one_line

F = TypeVar("F", bound=Callable[..., Any])

FLAGS = (
    ("cron expression", "--cron"), ("time zone", "--tz"), ("schedule.at", "--at"), ("would never fire", "--cron"),
    ("agent id", "--agent"), ("default agent", "--session"), ("sessionTarget", "--session"), ("cron jobs require",
    "--session"), ("sessionKey", "--session-key"), ("webhook", "--webhook"), ("delivery.to", "--to"),
    ("payload.argv", "--command"), ("payload.env", "--env"), ("payload.message", "--message"),
    ("payload.text", "--system-event"),
)  # fmt: skip
"""Words of a refusal, and the flag it is about."""
CLEARED = {
    "agent": "agentId", "session-key": "sessionKey", "description": "description", "display-name": "displayName",
    "delivery": "delivery", "alert": "failureAlert",
}  # fmt: skip

_OPTIONS = (
    click.option("--every", metavar="LENGTH", help="When: again and again, such as every 10m, 1h30m, 2d."),
    click.option("--cron", metavar="EXPR", help='When: a cron expression, such as "0 9 * * 1-5", or @daily.'),
    click.option("--at", metavar="TIME", help="When: once; 2027-03-28T09:00 (UTC, or --tz), or 20m from now."),
    click.option("--tz", metavar="ZONE", help="The time zone of --cron (default: this machine's) or --at."),
    click.option("--stagger", metavar="LENGTH", help="Spread runs of --cron over so long; a job keeps its place."),
    click.option("--exact", is_flag=True, help="Do not spread; the same as --stagger 0s."),
    click.option("--message", "-m", metavar="TEXT", help="What: a turn of the agent."),
    click.option("--command", metavar='"ARGV …"', help="What: a program and its arguments, run as the agent."),
    click.option("--system-event", metavar="TEXT", help="What: words for the main session."),
    click.option("--cwd", metavar="PATH", help="Where --command runs."),
    click.option("--env", metavar="NAME=VALUE", multiple=True, help="Its environment besides (may be repeated)."),
    click.option("--timeout-seconds", type=click.IntRange(0), metavar="N", help="End a run after this long; 0: never."),
    click.option("--agent", metavar="AGENT", help="Who does it (default: the default agent)."),
    click.option("--session", metavar="TARGET", help="Where: main, isolated, current, or session:ID."),
    click.option("--session-key", metavar="SESSION", help="The session it is bound to, which hears of it."),
    click.option("--wake", type=click.Choice(("now", "next-heartbeat")),
                 help="When --system-event is said: at once, or with the next run."),
    click.option("--announce", is_flag=True, help="Tell the session it is bound to of each result."),
    click.option("--to", metavar="SESSION", help="Tell this session instead."),
    click.option("--webhook", metavar="URL", help="POST each result to this address."),
    click.option("--no-deliver", is_flag=True, help="Tell nobody; see peergate cron runs."),
    click.option("--best-effort", "--best-effort-deliver", is_flag=True, help="A run is well even if nobody hears."),
    click.option("--misfire", type=click.Choice(("run-once", "skip", "catch-up")),
                 help="What becomes of runs missed while nothing ran (run-once)."),
    click.option("--misfire-cap", type=click.IntRange(1, 1000), metavar="N", help="The most catch-up makes up for."),
    click.option("--overlap", type=click.Choice(("skip", "wait", "allow")), help="While an earlier one runs (skip)."),
    click.option("--alert-after", type=click.IntRange(1, 1000), metavar="N", help="Tell of N failures in a row."),
    click.option("--delete-after-run/--keep-after-run", default=None, help="Whether a job that ran well goes."),
    click.option("--description", metavar="TEXT", help="What it is for."),
    click.option("--display-name", metavar="TEXT", help="A name for people."),
)  # fmt: skip


def _described(function: F) -> F:
    """Give a command the flags a job is described with."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@command(
    "add", 'peergate cron add --name mail --every 10m --message "look at the mail"',
    'peergate cron add --name report --cron "0 9 * * 1-5" --tz Europe/Berlin -m "write the report" --agent scout',
    'peergate cron add --name tea --at 20m --system-event "the tea is ready"',
    'peergate cron add --name backup --cron "0 3 * * *" --command "tar cf /backup/home.tar /home/you" --json',
    'peergate cron add --name watch --every 1h -m "is the page up?" --webhook https://example.net/hook',
)  # fmt: skip
@click.argument("called", metavar="[NAME]", required=False)
@click.option("--name", metavar="NAME", help="What it is called.")
@_described
@click.option("--disabled", is_flag=True, help="Make it, and leave it switched off.")
@click.option("--declaration-key", metavar="KEY", help="Make this job what is said here, if one with this key exists.")
def add(run: Invocation, /, called: str | None, disabled: bool, **given: Any) -> None:
    """Make a job.

    It takes one of --every, --cron and --at, and one of --message, --command and --system-event. --json prints the job;
    with --declaration-key {created, updated?, job}."""
    if called is not None and given["name"] is not None:
        raise Usage("give the name once: as NAME or as --name")
    given["name"] = given["name"] if called is None else called
    fields = fields_of({**given, "session": target_of(given["session"])}, round(time.time() * 1000))
    if "schedule" not in fields:
        raise Usage("say when: --every 10m, --cron EXPR or --at TIME")
    if "payload" not in fields:
        raise Usage('say what: --message TEXT, --command "ARGV …" or --system-event TEXT')
    if disabled:
        fields["enabled"] = False
    told = _sent(run, "add", fields)
    job = told.get("job", told)
    word = "made" if told.get("created", True) else "changed" if told.get("updated") else "as it was:"
    run.answer(told, lambda: f"{word} {one_line(job.get('name'))} ({job.get('id')})\n{when_text(job)}")


@command(
    "edit", "peergate cron edit mail --every 30m", 'peergate cron edit report --cron "0 8 * * 1-5"',
    "peergate cron edit report --tz UTC --misfire skip", "peergate cron edit disk --clear agent --clear delivery",
)  # fmt: skip
@job_argument
@click.option("--name", metavar="NAME", help="What it is called from now on.")
@_described
@click.option("--enable/--disable", "enabled", default=None, help="Switch it on or off.")
@click.option("--clear", multiple=True, type=click.Choice(tuple(CLEARED)), help="Take back what was said of this.")
def edit(run: Invocation, /, job: str, clear: tuple[str, ...], **given: Any) -> None:
    """Change a job; what is not said stays as it is. --json prints the job."""
    found = ask_cron(run.doors, "get", {"id": job_id(run.doors, job)})
    given["session"] = target_of(given["session"])
    patch = fields_of(_completed(given, found), round(time.time() * 1000))
    patch |= {CLEARED[word]: None for word in clear}
    if "schedule" in patch:
        patch["schedule"] = _kept(patch["schedule"], found.get("schedule") or {})
    if not patch:
        raise Usage("say what is to be different; peergate cron edit --help lists the flags")
    told = _sent(run, "update", {"id": found["id"], "patch": patch})
    run.answer(told, lambda: f"changed {one_line(told.get('name'))} ({told.get('id')})\n{when_text(told)}")


def target_of(text: str | None) -> str | None:
    """`--session` as it travels. Raises Usage."""
    if text is None or text in ("main", "isolated", "current") or text.removeprefix("session:") not in (text, ""):
        return text
    if text.startswith("agent:"):
        return f"session:{text}"
    raise Usage(f'--session "{text}" must be main, isolated, current, or session:ID')


def _completed(given: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a job's schedule or payload without naming it again is about the one it has."""
    full = dict(given)
    schedule, payload = found.get("schedule") or {}, found.get("payload") or {}
    unnamed = all(given.get(kind) is None for kind in ("every", "cron", "at"))
    if unnamed and any(given.get(flag) for flag in ("tz", "stagger", "exact")) and schedule.get("kind") == "cron":
        full["cron"] = schedule.get("expr")
    unsaid = all(given.get(kind) is None for kind in ("message", "command", "system_event"))
    if unsaid and (given.get("timeout_seconds") is not None or given.get("cwd") or given.get("env")):
        full["payload_kind"] = payload.get("kind")
    return full


def _kept(made: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """A new cron expression keeps the zone of the old one; the same one keeps how it is spread as well."""
    if made["kind"] != "cron" or before.get("kind") != "cron":
        return made
    names = ("tz", "staggerMs") if made["expr"] == before.get("expr") else ("tz",)
    return {name: before[name] for name in names if name in before} | made


def _sent(run: Invocation, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The answer; a refusal is told with the flag it is about."""
    try:
        return ask_cron(run.doors, action, params)
    except CliError as error:
        flag = next((flag for words, flag in FLAGS if words in error.message), None)
        if flag is not None:
            error.message = f"{flag}: {error.message}"
        raise
