"""What a job says when it fires, and what is told when its run has ended. Pure.

Owns the words, the keys of the sessions and the ids of the runs: made from job and slot, so that a second run for the
same slot could not even be accepted."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.config.settings import Settings
from gateway.protocol.cron import AgentTurn, Command, FailureAlert, Job, RunEntry, SystemEvent
from gateway.protocol.keys import main_key
from gateway.schedules.job import agent_of, bound_key
from gateway.services.work import CRON, NewMessage

TURN_SECONDS, OTHER_SECONDS = 3600, 600
"""How long a turn or a program may take when the job does not say (OpenClaw 2026.9.6)."""
MAX_TOLD_CHARS = 64 * 1024
"""Of a result in an announcement or a webhook's body; the whole stays in the run's session."""
SILENT = frozenset({"NO_REPLY", "HEARTBEAT_OK", "ANNOUNCE_SKIP"})
"""A reply that is exactly this is told to nobody."""
LANE = "cron"


class Occasion(msgspec.Struct, frozen=True):
    """Why a job runs: for a slot (which attempt of it), or because somebody asked (`scheduled` False)."""

    slot: int
    attempt: int = 1
    scheduled: bool = True


class Parcel(msgspec.Struct, frozen=True):
    """Something to be told: to the session or the address `to`."""

    to: str
    text: str
    provenance: dict[str, Any]
    address: bool = False


def run_id_of(job: Job, occasion: Occasion) -> str:
    """The run for an occasion."""
    kind = "" if occasion.scheduled else "asked:"
    return f"{CRON}{job.id}:{kind}{occasion.slot}:{occasion.attempt}"


def session_of(job: Job, occasion: Occasion, default_agent: str) -> str:
    """Where a run takes place: `main` and `session:<id>` are what they say, every other run has a session of its
    own."""
    agent = agent_of(job, default_agent)
    if job.session_target == "main":
        return main_key(agent)
    if job.session_target.startswith("session:"):
        return str(bound_key(job.session_target, agent))
    again = f".{occasion.attempt}" if occasion.attempt > 1 else ""
    return f"agent:{agent}:cron:{job.id}:run:{'' if occasion.scheduled else 'asked-'}{occasion.slot}{again}"


def waits_for_company(job: Job) -> bool:
    """Whether what the job says is for the session's next run, and no run of its own."""
    return isinstance(job.payload, SystemEvent) and job.wake_mode == "next-heartbeat"


def message_of(job: Job, occasion: Occasion, settings: Settings) -> NewMessage:
    """The message that makes a job's run."""
    session = session_of(job, occasion, settings.default_agent)
    agent = agent_of(job, settings.default_agent)
    most = settings.limits_of(agent).transcript_bytes if agent in settings.agents.entries else None
    return NewMessage(
        run_id=run_id_of(job, occasion), session_key=session, text=_text(job), provenance=_provenance(job, occasion),
        lane=LANE, kind="user", sender=f"cron:{job.id}", timeout_s=_seconds(job), label=None,
        max_transcript_bytes=most, max_transcript_key=settings.limit_key(agent, "transcriptBytes"),
    )  # fmt: skip


def _text(job: Job) -> str:
    tag = f"[cron:{job.id} {job.name}] "
    match job.payload:
        case SystemEvent():
            return job.payload.text
        case AgentTurn():
            return tag + job.payload.message
        case Command():
            return tag + shlex.join(job.payload.argv)
        case _:
            raise AssertionError(f"the job {job.id} has a payload that is not served")


def _provenance(job: Job, occasion: Occasion) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": "internal_system", "sourceTool": "cron", "jobId": job.id, "jobName": job.name}
    told["slotMs"] = occasion.slot
    if job.session_key is not None:
        told["sourceSessionKey"] = job.session_key
    if isinstance(job.payload, Command):
        told["command"] = msgspec.to_builtins(job.payload)
    return told


def _seconds(job: Job) -> int | None:
    match job.payload:
        case AgentTurn():
            usual = TURN_SECONDS
        case Command():
            usual = OTHER_SECONDS
        case _:
            return None
    return usual if job.payload.timeout_seconds is None else job.payload.timeout_seconds


# --- what is told -----------------------------------------------------------------------------------------------------


def alerts_of(job: Job, settings: Settings) -> FailureAlert | None:
    """The rules by which a job's failing is told: its own where written, else `cron.failureAlert`; None for none."""
    shared, own = settings.cron.failure_alert, job.failure_alert
    if isinstance(own, bool) or (own is None and not shared.enabled):
        return None
    usual = FailureAlert(
        shared.after, shared.cooldown_ms, shared.include_skipped, shared.mode, shared.to
    )  # fmt: skip
    if own is None:
        return usual
    if own.mode is not None and own.mode != shared.mode:
        usual = replace(usual, to=None)  # an address is no session
    names = ("after", "cooldown_ms", "include_skipped", "mode", "to")
    return FailureAlert(**{one: getattr(usual if getattr(own, one) is None else own, one) for one in names})


def result_parcel(job: Job, entry: RunEntry, text: str | None) -> Parcel | None:
    """The job's own delivery, whose fate is the run's."""
    delivery = job.delivery
    if delivery is None or not delivery.to:
        return None
    if delivery.mode == "webhook":
        return _call(entry, delivery.to)
    if delivery.mode == "announce" and suppressed(entry, text) is None:
        return Parcel(delivery.to, announcement(job, entry, text), _about(job, entry, text))
    return None


def completion_parcel(job: Job, entry: RunEntry) -> Parcel | None:
    """The line of the log, for whom a job has named besides."""
    place = job.delivery.completion_destination if job.delivery is not None else None
    return _call(entry, place.to) if place is not None else None


def failure_parcels(job: Job, entry: RunEntry, alert: FailureAlert | None, main: str) -> list[Parcel]:
    """What is told of a run that has failed, and to whom. `alert`: the rules by which that is told now, None when it is
    not; `main`: the main session of the job's agent."""
    found: list[Parcel] = []
    place = job.delivery.failure_destination if job.delivery is not None else None
    if place is not None and place.to and entry.status == "error":
        found.append(_failure(job, entry, place.to, address=place.mode == "webhook"))
    if alert is not None:
        outside = alert.mode == "webhook" and alert.to is not None
        found.append(_failure(job, entry, alert.to or job.session_key or main, address=outside))
    return found


def suppressed(entry: RunEntry, text: str | None) -> str | None:
    """Why a result is not announced though the job has somebody it would be announced to; None when it is."""
    if entry.status != "ok":
        return "run-failed"
    if not (text or "").strip():
        return "empty"
    return "silent" if (text or "").strip() in SILENT else None


def announcement(job: Job, entry: RunEntry, text: str | None) -> str:
    """The words of a result."""
    return f"Cron job {job.name} ({job.id}) has finished.\nResult:\n{cut(text or '', entry.session_key)}"


def cut(text: str, where: str | None) -> str:
    """A text as it is told."""
    if len(text) <= MAX_TOLD_CHARS:
        return text
    return f"{text[:MAX_TOLD_CHARS]}\n[cut here; the whole is in the history of {where}]"


def _failure(job: Job, entry: RunEntry, to: str, *, address: bool) -> Parcel:
    if address:
        return _call(entry, to)
    count = job.state.consecutive_errors
    words = f"Cron job {job.name} ({job.id}) has failed{f' {count} times in a row' if count > 1 else ''}."
    return Parcel(to, f"{words}\nError: {entry.error or 'none was given'}", _about(job, entry, None))


def _about(job: Job, entry: RunEntry, text: str | None) -> dict[str, Any]:
    told = {
        "kind": "internal_system", "sourceTool": "cron", "jobId": job.id, "jobName": job.name, "status": entry.status,
        "cronRunId": entry.run_id, "sourceSessionKey": entry.session_key, "error": entry.error,
        "result": None if text is None else cut(text, entry.session_key),
    }  # fmt: skip
    return {name: value for name, value in told.items() if value is not None}


def _call(entry: RunEntry, to: str) -> Parcel:
    return Parcel(to, msgspec.json.encode(entry).decode(), {}, address=True)
