"""Jobs and their runs in words and tables.

Owns what a schedule is called on a terminal. The words themselves are the gateway's own (`explain`); they are loaded
when something is shown to a person, which a program that asks for JSON does not wait for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from supervisor.cli.output import MISSING, ago, clean, one_line, span, table

SHORT = 8
"""Letters of a job's id that are shown; what is typed may be as short."""


def schedule_words(schedule: Mapping[str, Any]) -> str:
    """`every weekday at 09:00 Europe/Berlin`."""
    import msgspec  # thirty milliseconds that a program which asks for JSON does not wait for

    from gateway.protocol.cron import Schedule
    from gateway.schedules.explain import explain

    try:
        return explain(msgspec.convert(dict(schedule), Schedule, strict=False))
    except msgspec.ValidationError:  # of a gateway that knows more kinds than we do
        return str(schedule.get("kind"))


def moment(ms: Any, zone: tzinfo | None = None) -> str:
    """An instant as a person says it, on the clocks of a zone (this machine's when none is given)."""
    if not isinstance(ms, int | float):
        return MISSING
    when = datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone)
    return f"{when:%Y-%m-%d %H:%M:%S} {when.tzname() or ''}".rstrip()


def until(ms: Any, now: float | None = None) -> str:
    """How long it is to an instant: `in 3 h`, `now`."""
    if not isinstance(ms, int | float):
        return MISSING
    left = ms - (time.time() if now is None else now) * 1000
    return f"in {span(left)}" if left >= 1000 else "now" if left > -1000 else f"{span(-left)} late"


def zone_in(job: Mapping[str, Any]) -> tzinfo | None:
    """The zone a job's schedule is written in, if it names one this machine knows."""
    name = (job.get("schedule") or {}).get("tz")
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):
        return None


def jobs_text(told: Mapping[str, Any], *, every: bool = True) -> str:
    """Jobs as a table, and whether there are more. `every`: those that are switched off were asked for as well."""
    jobs = told.get("jobs") or ()
    if not jobs:
        none = "no jobs" if every else "no jobs are switched on (peergate cron list --all shows the others)"
        return f'{none}; to make one: peergate cron add --name tea --every 10m --message "…"'
    rows = [
        (
            str(job.get("id"))[:SHORT], job.get("name"), schedule_words(job.get("schedule") or {}),
            until(job.get("nextRunAtMs")) if job.get("enabled") else "off", ago(job.get("lastRunAtMs")), _last(job),
            _worker(job),
        )
        for job in jobs
    ]  # fmt: skip
    text = table(("ID", "NAME", "WHEN", "NEXT", "LAST", "ENDED", "AGENT"), rows)
    return f"{text}\n(of {told.get('total')}; more: --offset {told['nextOffset']})" if told.get("hasMore") else text


def _last(job: Mapping[str, Any]) -> str:
    error = job.get("lastRunError")
    status = str(job.get("lastRunStatus") or MISSING)
    return f"{status}: {one_line(error, 60)}" if error and status != "ok" else status


def _worker(job: Mapping[str, Any]) -> str:
    return f"{job.get('agentId') or '(default)'} {job.get('sessionTarget')}"


def job_text(job: Mapping[str, Any]) -> str:
    """One job in full."""
    state = job.get("state") or {}
    switched = state.get("autoDisabled") or {}
    fields = {
        "job": f"{job.get('name')} ({job.get('id')})",
        "when": when_text(job),
        "does": payload_words(job.get("payload") or {}),
        "in": _worker(job),
        "tells": delivery_words(job.get("delivery") or {}),
        "missed": _missed(job),
        "at once": {"skip": "leaves out what comes while it runs", "wait": "waits until it has run",
                    "allow": "runs beside itself"}.get(str(job.get("overlap"))),
        "last": _last_run(job),
        "failing": f"{state['consecutiveErrors']} times in a row" if state.get("consecutiveErrors") else None,
        "off": f"by itself, {moment(switched.get('atMs'))}: {switched.get('reason')}" if switched else None,
        "owner": (job.get("owner") or {}).get("sessionKey"),
        "key": job.get("declarationKey"),
        "about": job.get("description"),
    }  # fmt: skip
    return "\n".join(f"{name + ':':10}{one_line(value, 2000)}" for name, value in fields.items() if value)


def when_text(job: Mapping[str, Any]) -> str:
    """A schedule and what comes next: `every weekday at 09:00 Europe/Berlin, next: 2027-03-29 09:00:00 CEST`."""
    words = schedule_words(job.get("schedule") or {})
    if not job.get("enabled"):
        return f"{words}, switched off (peergate cron enable {str(job.get('id'))[:SHORT]})"
    due = job.get("nextRunAtMs")
    return f"{words}, next: {moment(due, zone_in(job))} ({until(due)})" if due is not None else f"{words}, never again"


def payload_words(payload: Mapping[str, Any]) -> str:
    """What a job does."""
    match payload.get("kind"):
        case "agentTurn":
            return f"a turn: {payload.get('message')}"
        case "command":
            import shlex

            return f"a program: {shlex.join(map(str, payload.get('argv') or ()))}"
        case "systemEvent":
            return f"says to the main session: {payload.get('text')}"
        case other:
            return str(other)


def delivery_words(delivery: Mapping[str, Any]) -> str:
    """Who hears of a result."""
    match delivery.get("mode"):
        case "announce":
            return f"the session {delivery.get('to')}"
        case "webhook":
            return f"a POST to {delivery.get('to')}"
        case _:
            return "nobody (peergate cron runs)"


def _missed(job: Mapping[str, Any]) -> str | None:
    most = job.get("misfireCap", 10)
    return {"run-once": "is made up for once", "skip": "is left out", "catch-up": f"is made up for, up to {most}"}.get(
        str(job.get("misfire"))
    )


def _last_run(job: Mapping[str, Any]) -> str | None:
    if not job.get("lastRunAtMs"):
        return None
    return f"{moment(job['lastRunAtMs'], zone_in(job))}, {_last(job)}"


def runs_text(told: Mapping[str, Any]) -> str:
    """The run log as a table."""
    entries: Sequence[Mapping[str, Any]] = told.get("entries") or ()
    if not entries:
        return "no run has ended yet"
    rows = [
        (
            moment(each.get("slotMs")), each.get("jobName") or str(each.get("jobId"))[:SHORT], each.get("status"),
            span(each.get("durationMs")), each.get("deliveryStatus"),
            each.get("error") if each.get("status") != "ok" else each.get("summary"),
        )
        for each in entries
    ]  # fmt: skip
    text = table(("FOR", "JOB", "ENDED", "TOOK", "TOLD", "WHAT IT SAID"), rows)
    return f"{text}\n(of {told.get('total')}; more: --offset {told['nextOffset']})" if told.get("hasMore") else text


def entry_text(entry: Mapping[str, Any]) -> str:
    """What a run that was waited for has come to."""
    if entry.get("status") == "ok":
        return clean(str(entry.get("summary") or "(it ended without a reply)"))
    return f"{one_line(entry.get('status'))}: {one_line(entry.get('error'), 2000)}"
