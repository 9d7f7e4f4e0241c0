"""From what somebody asks for to a job, or to the sentence that says why not. Pure.

Owns the defaults of a job and every rule between its fields (OpenClaw 2026.9.6, `normalize` and `jobs-validation`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from gateway.protocol.calls.cron import JobPatch, PayloadPatch
from gateway.protocol.cron import (
    MAX_NAME_CHARS,
    AgentTurn,
    At,
    Command,
    Cron,
    Every,
    Job,
    Payload,
    Schedule,
    SystemEvent,
    Wish,
)
from gateway.protocol.errors import Refusal, invalid
from gateway.protocol.keys import SessionKey, lasting_key, parse_key
from gateway.schedules.delivery import alert_of, delivery_of
from gateway.schedules.explain import explain
from gateway.schedules.facts import Facts
from gateway.schedules.schedule import (
    BadSchedule,
    Timetable,
    default_stagger,
    parse_expression,
    stagger_offset,
    timetable_of,
)

MAX_CAP = 10
NEVER_FIRES = "CRON_NEVER_FIRES"
_FIELDS = tuple(name for name in Wish.__struct_fields__ if name not in ("pacing", "trigger"))


def make_job(wish: Wish, job_id: str, facts: Facts, *, timed: bool = False) -> Job:
    """The job somebody asks for, complete. `timed`: its schedule is that of a job there is. Raises Refusal."""
    if wish.trigger is not None:
        raise invalid("cron triggers are not served here; leave trigger out")
    if wish.pacing is not None:
        raise invalid("cron pacing is not served here; leave pacing out")
    for name, text in (("declarationKey", wish.declaration_key), ("displayName", wish.display_name)):
        if text is not None and not text.strip():
            raise invalid(f"cron job {name} must not be blank")
    agent, session = _agent_of(wish, facts), _session_of(wish, facts)
    payload = _checked_payload(wish.payload)
    target, session = _target_of(wish, agent, session, payload, facts)
    schedule = wish.schedule if timed else _checked_schedule(wish.schedule, job_id, facts)
    once = isinstance(schedule, At)
    return Job(
        id=job_id, name=_name_of(wish, payload, schedule), enabled=wish.enabled, created_at_ms=facts.now,
        updated_at_ms=facts.now, schedule=schedule, session_target=target, wake_mode=wish.wake_mode, payload=payload,
        display_name=wish.display_name, declaration_key=wish.declaration_key, owner=facts.owner,
        agent_id=agent if wish.agent_id is not None or facts.owner is not None else None, session_key=session,
        description=wish.description,
        delete_after_run=once if wish.delete_after_run is None else wish.delete_after_run,
        delivery=delivery_of(wish.delivery, target, agent, session, facts),
        failure_alert=alert_of(wish.failure_alert, agent, session, facts),
        misfire=wish.misfire, misfire_cap=wish.misfire_cap or MAX_CAP, overlap=wish.overlap or "skip",
    )  # fmt: skip


def patch_job(job: Job, patch: JobPatch, facts: Facts) -> Job:
    """A job with something changed; its id, owner and state stay. Its time may be over, unless the patch names the
    schedule or switches the job on. Raises Refusal."""
    given = {name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not UNSET}
    wish: dict[str, Any] = {name: getattr(job, name) for name in _FIELDS}
    if isinstance(payload := given.pop("payload", None), PayloadPatch):
        wish["payload"] = _patched_payload(job.payload, payload)
    if "session_target" not in given and "agent_id" not in given and job.session_target == "current":
        given.setdefault("session_key", job.session_key)
    timed = "schedule" not in given and (job.enabled or not given.get("enabled"))
    made = make_job(Wish(**wish | given), job.id, facts.of(job.owner), timed=timed)
    kept = {"created_at_ms": job.created_at_ms, "state": job.state, "owner": job.owner}
    if isinstance(made.schedule, Every) and "schedule" not in given:
        kept["schedule"] = job.schedule
    return replace(made, **kept)


def table_of(schedule: Schedule, made_at: int, zone_of: Callable[[str | None], tzinfo]) -> Timetable:
    """The slots of a job. Raises BadSchedule."""
    zone = zone_of(schedule.tz if isinstance(schedule, Cron) else "UTC")
    return timetable_of(schedule, zone, made_at)


def offset_of(job: Job) -> int:
    """How much later than its slots a job runs."""
    stagger = job.schedule.stagger_ms if isinstance(job.schedule, Cron) else 0
    return stagger_offset(job.id, stagger or 0)


def agent_of(job: Job, default_agent: str) -> str:
    """The agent that works for a job."""
    return job.agent_id or default_agent


def bound_key(target: str, agent: str) -> SessionKey | None:
    """The session of a target `session:<id>`: a key as it is, or that id among the agent's sessions."""
    name = target.removeprefix("session:").strip()
    return parse_key(name if name.lower().startswith("agent:") else f"agent:{agent}:{name}")


def _agent_of(wish: Wish, facts: Facts) -> str:
    own = facts.owner.agent_id if facts.owner else None
    agent = (wish.agent_id or own or "").strip().lower()
    if not agent:
        key = parse_key(wish.session_key) if wish.session_key else None
        agent = key.agent if key else facts.default_agent
    if own is not None and agent != own:
        raise invalid(f'agentId "{agent[:64]}" is not yours: the jobs an agent makes are its own ({own}); leave it out')
    if agent not in facts.agents:
        known = ", ".join(sorted(facts.agents))
        raise invalid(f'unknown agent id "{agent[:64]}"; configured: {known}', code="UNKNOWN_AGENT_ID")
    return agent


def _session_of(wish: Wish, facts: Facts) -> str | None:
    """The session a job is bound to: the one that is named, or its maker's if that one goes on."""
    given = wish.session_key or (
        lasting_key(facts.owner.session_key) if facts.owner and facts.owner.session_key else None
    )
    if given is None:
        return None
    key = parse_key(given)
    if key is None:
        raise invalid(f'sessionKey "{given[:128]}" is no session key; it looks like agent:main:main')
    if facts.owner is not None and facts.owner.agent_id not in (None, key.agent):
        raise invalid(f"sessionKey {key} is not yours: name a session of the agent {facts.owner.agent_id}")
    if key.agent not in facts.agents:
        raise invalid(f'sessionKey "{key}" names an agent that is not configured', code="UNKNOWN_AGENT_ID")
    return str(key)


def _target_of(
    wish: Wish, agent: str, session: str | None, payload: Payload, facts: Facts
) -> tuple[str, str | None]:  # fmt: skip
    """Where a job runs, and the session it is bound to."""
    usual = {SystemEvent: "main", AgentTurn: "current"}.get(type(payload), "isolated")
    target = (wish.session_target or usual).strip()
    if target == "current" and session is None:
        target = "isolated"
    if target == "main":
        if not isinstance(payload, SystemEvent):
            raise invalid('main cron jobs require payload.kind="systemEvent"')
        if agent != facts.default_agent:
            raise invalid(
                'cron: sessionTarget "main" is only valid for the default agent. Use sessionTarget "isolated" with '
                f'payload.kind "agentTurn" for non-default agents (agentId: {agent})'
            )
        return target, session
    if target.startswith("session:"):
        key = None if "\0" in target else bound_key(target, agent)
        if key is None:
            raise invalid("invalid cron sessionTarget session id")
        if key.agent != agent:
            raise invalid(f'cron: sessionTarget "{target[:128]}" is a session of another agent than {agent}')
        target = f"session:{target.removeprefix('session:').strip()}"
    elif target not in ("isolated", "current"):
        raise invalid(f'cron sessionTarget "{target[:64]}" must be "main", "isolated", "current" or "session:<id>"')
    if not isinstance(payload, AgentTurn | Command):
        raise invalid(f'{target.split(":")[0]} cron jobs require payload.kind="agentTurn" or "command"')
    return target, session


def _checked_payload(payload: Payload) -> Payload:
    match payload:
        case SystemEvent() if not payload.text.strip():
            raise invalid("cron payload.text must not be blank")
        case AgentTurn() if not payload.message.strip():
            raise invalid("cron payload.message must not be blank")
        case Command():
            words = [*payload.argv, *(payload.env or {}), *(payload.env or {}).values(), payload.cwd or ""]
            if not payload.argv[0].strip() or any("\0" in word for word in words):
                raise invalid("cron payload.argv must begin with a program's name, and nothing in it may hold a NUL")
            if any(not name or "=" in name for name in payload.env or {}):
                raise invalid("cron payload.env names must not be empty and hold no =")
        case SystemEvent() | AgentTurn():
            pass
        case _:
            raise invalid('cron payload.kind "script" is not served here; use systemEvent, agentTurn or command')
    return payload


def _patched_payload(payload: Payload, patch: PayloadPatch) -> Payload:
    """A payload with something changed. Of another kind it must be whole. Raises Refusal."""
    before: dict[str, Any] = msgspec.to_builtins(payload)
    given: dict[str, Any] = msgspec.to_builtins(patch)
    merged = given if given["kind"] != before["kind"] else before | given
    try:
        made: Payload = msgspec.convert({name: one for name, one in merged.items() if one is not None}, Payload)
    except msgspec.ValidationError as error:
        raise invalid(f"invalid cron payload patch: {error}") from None
    return made


def _checked_schedule(schedule: Schedule, job_id: str, facts: Facts) -> Schedule:
    """The schedule with its anchor or its stagger. Raises Refusal for one that means nothing or never fires."""
    try:
        if isinstance(schedule, Cron) and schedule.stagger_ms is None:
            if stagger := default_stagger(parse_expression(schedule.expr)):
                schedule = replace(schedule, stagger_ms=stagger)
        elif isinstance(schedule, Every) and schedule.anchor_ms is None:
            schedule = replace(schedule, anchor_ms=facts.now)
        table = table_of(schedule, facts.now, facts.zone_of)
    except BadSchedule as bad:
        raise invalid(str(bad)) from None
    if table.after(facts.now) is None:
        raise never_fires(schedule)
    return schedule


def never_fires(schedule: Schedule) -> Refusal:
    """The refusal of a schedule whose time is over, or never comes."""
    what = {At: f'schedule.at "{getattr(schedule, "at", "")}"', Cron: f'cron "{getattr(schedule, "expr", "")}"'}
    why = f"{what.get(type(schedule), 'the schedule')} has no upcoming run time and would never fire"
    return invalid(why, code=NEVER_FIRES)


def is_over(refusal: Refusal) -> bool:
    """Whether a job was refused because its time is over, or never comes."""
    return (refusal.shape.details or {}).get("code") == NEVER_FIRES


def _name_of(wish: Wish, payload: Payload, schedule: Schedule) -> str:
    if wish.name.strip():
        return wish.name.strip()
    match payload:
        case SystemEvent():
            text = payload.text
        case AgentTurn():
            text = payload.message
        case Command():
            text = " ".join(payload.argv)
        case _:
            text = ""
    line = " ".join(text.split())[:60]
    return line or explain(schedule)[:MAX_NAME_CHARS]
