"""Jobs as clients read them: one, or a page of those that are asked for, in order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from gateway.protocol.calls.cron import CronList, JobPage
from gateway.protocol.cron import Job
from gateway.protocol.keys import parse_key
from gateway.schedules.job import agent_of

SHOWN_OF_STATE = (
    "next_run_at_ms", "last_run_at_ms", "last_run_status", "last_error", "last_delivered", "last_delivery_status",
    "last_delivery_error", "delivery_suppression_reason",
)  # fmt: skip
"""What a job's view repeats at its top (`lastError` as `lastRunError`)."""


def view_of(job: Job) -> dict[str, Any]:
    """A job as clients read it."""
    view: dict[str, Any] = msgspec.to_builtins(job)
    # What has a default is left out in store, and told: a reader should not need ours.
    view |= {"state": view.get("state", {}), "overlap": job.overlap}
    names = {"lastError": "lastRunError"}
    shown = ("".join([word.split("_")[0], *map(str.title, word.split("_")[1:])]) for word in SHOWN_OF_STATE)
    for name in shown:
        if name in view["state"]:
            view[names.get(name, name)] = view["state"][name]
    return view


_LAST = 1 << 62
"""Jobs without a next run stand behind all others."""


def list_jobs(
    jobs: Iterable[Job], wanted: CronList, default_agent: str, revision: str, view: Callable[[Job], dict[str, Any]]
) -> JobPage:
    """The page somebody asks for; `view` makes a job what clients read."""
    found = [job for job in jobs if _is_wanted(job, wanted, default_agent)]
    found.sort(key=lambda job: (_order(job, wanted.sort_by), job.id), reverse=wanted.sort_dir == "desc")
    page = found[wanted.offset : wanted.offset + wanted.limit]
    seen = wanted.offset + len(page)
    more = seen < len(found)
    return JobPage(
        [view(job) for job in page], len(found), wanted.offset, wanted.limit, more, seen if more else None, revision
    )


def _order(job: Job, by: str) -> Any:
    match by:
        case "name":
            return job.name.lower()
        case "updatedAtMs":
            return job.updated_at_ms
        case _:
            return _LAST if job.state.next_run_at_ms is None else job.state.next_run_at_ms


def _is_wanted(job: Job, wanted: CronList, default_agent: str) -> bool:
    which = wanted.enabled or ("all" if wanted.include_disabled else "enabled")
    if which != "all" and job.enabled != (which == "enabled"):
        return False
    kind = job.schedule.__struct_config__.tag
    if wanted.schedule_kind not in ("all", kind) or wanted.trigger == "conditional":
        return False
    if wanted.last_run_status not in ("all", job.state.last_run_status or "unknown"):
        return False
    agent = wanted.agent_id or wanted.session_agent_id
    if agent is not None and agent.strip().lower() != agent_of(job, default_agent):
        return False
    if wanted.session_key is not None and str(parse_key(wanted.session_key)) != job.session_key:
        return False
    return wanted.query is None or _mentions(job, wanted.query.strip().lower())


def _mentions(job: Job, words: str) -> bool:
    texts = [job.id, job.name, job.display_name or "", job.description or "", job.agent_id or ""]
    texts.append(msgspec.json.encode(job.payload).decode())
    return any(words in text.lower() for text in texts)
