"""What may be asked for and what becomes of it: defaults, every rule between fields, patches."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from gateway.protocol.calls.cron import JobPatch
from gateway.protocol.cron import Job, Owner, Wish
from gateway.protocol.errors import Refusal
from gateway.schedules.delivery import is_address
from gateway.schedules.facts import Facts
from gateway.schedules.job import bound_key, make_job, patch_job
from gateway.schedules.zones import Zones

NOW = 1_800_000_000_000
TURN = {"kind": "agentTurn", "message": "do it"}
EVENT = {"kind": "systemEvent", "text": "tea"}
COMMAND = {"kind": "command", "argv": ["ls", "-l"]}
MINUTELY = {"kind": "every", "everyMs": 60_000}
MAIN = "agent:main:main"


def facts(owner: Owner | None = None) -> Facts:
    return Facts(NOW, "main", ["main", "scout"], Zones().get, owner)


def made(owner: Owner | None = None, **fields: Any) -> Job:
    wish = msgspec.convert({"schedule": MINUTELY, "payload": TURN, **fields}, Wish)
    return make_job(wish, "j1", facts(owner))


@pytest.mark.parametrize(
    ("payload", "session", "target"),
    [
        (EVENT, None, "main"), (TURN, None, "isolated"), (TURN, MAIN, "current"), (COMMAND, None, "isolated"),
        (COMMAND, MAIN, "isolated"),
    ],
)  # fmt: skip
def test_where_a_job_runs_that_does_not_say(payload: Any, session: str | None, target: str):
    assert made(payload=payload, sessionKey=session).session_target == target


BOUND = [
    ("a conversation", MAIN, {}, MAIN),
    ("a sub-agent's", "agent:main:subagent:kid", {}, "agent:main:subagent:kid"),
    ("one run of a job", "agent:main:cron:j0:run:1800000000000", {}, MAIN),
    ("one run somebody asked for", "agent:main:cron:j0:run:asked-1800000000000.2", {}, MAIN),
    ("one run of a job of another agent", "agent:scout:cron:j0:run:1", {}, "agent:scout:main"),
    ("one run, told otherwise", "agent:main:cron:j0:run:1", {"sessionKey": "agent:main:ops"}, "agent:main:ops"),
]


@pytest.mark.parametrize(("story", "maker", "fields", "bound"), BOUND, ids=[row[0] for row in BOUND])
def test_a_job_an_agent_makes_is_bound_to_a_session_that_goes_on(story: str, maker: str, fields: Any, bound: str):
    job = made(Owner(maker.split(":")[1], maker), **fields)
    assert (job.session_key, job.session_target) == (bound, "current")
    assert job.delivery is not None
    assert (job.delivery.mode, job.delivery.to) == ("announce", bound)


def test_what_is_not_said_is_filled_in():
    job = made()
    assert (job.name, job.enabled, job.wake_mode, job.overlap, job.misfire_cap) == ("do it", True, "now", "skip", 10)
    assert (job.delete_after_run, job.schedule.anchor_ms) == (False, NOW)  # type: ignore[union-attr]
    assert made(schedule={"kind": "at", "at": NOW + 1}).delete_after_run is True
    assert made(schedule={"kind": "at", "at": NOW + 1}, deleteAfterRun=False).delete_after_run is False
    assert made(schedule={"kind": "cron", "expr": "0 * * * *"}).schedule.stagger_ms == 300_000  # type: ignore[union-attr]
    assert made(schedule={"kind": "cron", "expr": "0 * * * *", "staggerMs": 0}).schedule.stagger_ms == 0  # type: ignore[union-attr]
    assert made(payload=COMMAND).name == "ls -l"


@pytest.mark.parametrize(
    ("fields", "delivery"),
    [
        ({}, {"mode": "none"}),
        ({"sessionKey": MAIN}, {"mode": "announce", "to": MAIN}),
        ({"payload": EVENT}, None),
        ({"delivery": {"mode": "announce"}}, {"mode": "announce", "to": MAIN}),
        ({"delivery": {"mode": "announce"}, "agentId": "scout"}, {"mode": "announce", "to": "agent:scout:main"}),
        ({"delivery": {"mode": "announce", "to": "agent:main:ops"}}, {"mode": "announce", "to": "agent:main:ops"}),
        ({"delivery": {"mode": "none"}, "sessionKey": MAIN}, {"mode": "none"}),
    ],
)
def test_whom_a_result_is_told(fields: dict[str, Any], delivery: dict[str, Any] | None):
    found = made(**fields).delivery
    assert (msgspec.to_builtins(found) if found is not None else None) == delivery


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"payload": TURN, "sessionTarget": "main"}, 'main cron jobs require payload.kind="systemEvent"'),
    ({"payload": EVENT, "sessionTarget": "isolated"}, 'isolated cron jobs require payload.kind="agentTurn"'),
    ({"payload": EVENT, "sessionTarget": "session:x"}, 'session cron jobs require payload.kind="agentTurn"'),
    ({"payload": EVENT, "agentId": "scout"}, '"main" is only valid for the default agent'),
    ({"sessionTarget": "elsewhere"}, 'must be "main", "isolated", "current" or "session:<id>"'),
    ({"sessionTarget": "session: "}, "invalid cron sessionTarget session id"),
    ({"sessionTarget": "session:a\0b"}, "invalid cron sessionTarget session id"),
    ({"sessionTarget": "session:agent:scout:x"}, "session of another agent"),
    ({"declarationKey": "  "}, "declarationKey must not be blank"),
    ({"displayName": " "}, "displayName must not be blank"),
    ({"payload": {"kind": "agentTurn", "message": " "}}, "payload.message must not be blank"),
    ({"payload": {"kind": "systemEvent", "text": ""}}, "payload.text must not be blank"),
    ({"payload": {"kind": "command", "argv": [" "]}}, "must begin with a program's name"),
    ({"payload": {"kind": "command", "argv": ["ls", "\0"]}}, "nothing in it may hold a NUL"),
    ({"payload": {"kind": "command", "argv": ["ls"], "env": {"A=B": "c"}}}, "hold no ="),
    ({"payload": {"kind": "script", "script": "x"}}, '"script" is not served here'),
    ({"schedule": {"kind": "stream", "command": ["x"]}}, '"stream" is not served here'),
    ({"schedule": {"kind": "on-exit", "command": "x"}}, '"on-exit" is not served here'),
    ({"trigger": {"script": "x"}}, "triggers are not served"),
    ({"pacing": {"min": "1m"}}, "pacing is not served"),
    ({"failureAlert": True}, "failureAlert is false or a table"),
    ({"failureAlert": {"to": "nobody"}}, 'failureAlert.to "nobody" is no session key'),
    ({"failureAlert": {"to": "agent:ghost:main"}}, "not configured"),
    ({"failureAlert": {"mode": "webhook", "to": "agent:main:main"}}, "failureAlert.to must be a valid http(s) URL"),
    ({"schedule": {"kind": "at", "at": NOW}}, "no upcoming run time and would never fire"),
    ({"schedule": {"kind": "at", "at": "20m"}}, "is no time"),
    ({"schedule": {"kind": "cron", "expr": "61 * * * *"}}, "bad minute"),
    ({"schedule": {"kind": "cron", "expr": "0 0 31 4 *"}}, "bad day-of-month"),
    ({"schedule": {"kind": "cron", "expr": "* * * * *", "tz": "Mars/Olympus"}}, "is unknown; write an IANA name"),
    ({"schedule": {"kind": "cron", "expr": "* * * * *", "tz": "../../etc/passwd"}}, "is unknown"),
    ({"agentId": "nobody"}, 'unknown agent id "nobody"'),
    ({"sessionKey": "nonsense"}, "is no session key"),
    ({"delivery": {"mode": "webhook"}}, "valid http"),
    ({"delivery": {"mode": "webhook", "to": "ftp://x"}}, "valid http"),
    ({"delivery": {"mode": "announce", "to": "+4917"}}, "there are no channels here"),
    ({"payload": EVENT, "delivery": {"mode": "announce"}}, 'only supported for sessionTarget="isolated"'),
    ({"delivery": {"mode": "none", "completionDestination": {"to": "http://x"}}}, 'with delivery.mode="announce"'),
    ({"delivery": {"mode": "announce", "completionDestination": {"to": "x"}}}, "completionDestination.to must be"),
    ({"delivery": {"mode": "none", "failureDestination": {"mode": "webhook"}}}, "failureDestination.to must be"),
    (
        {"payload": EVENT, "delivery": {"mode": "none", "failureDestination": {"to": MAIN}}},
        "failureDestination is only supported",
    ),
]


@pytest.mark.parametrize(("fields", "why"), REFUSED)
def test_what_makes_no_sense_is_refused_with_the_reason(fields: dict[str, Any], why: str):
    with pytest.raises(Refusal) as refused:
        made(**fields)
    assert why in refused.value.shape.message
    assert refused.value.shape.code == "INVALID_REQUEST"


def test_an_agents_jobs_are_its_own():
    job = made(Owner("scout", "agent:scout:main"))
    assert (job.agent_id, job.session_key, job.session_target) == ("scout", "agent:scout:main", "current")
    for fields in ({"agentId": "main"}, {"sessionKey": MAIN}, {"delivery": {"mode": "announce", "to": MAIN}},
                   {"failureAlert": {"to": MAIN}}):  # fmt: skip
        with pytest.raises(Refusal, match="is not yours"):
            made(Owner("scout", "agent:scout:main"), **fields)


def patched(job: Job, **fields: Any) -> Job:
    return patch_job(job, msgspec.convert(fields, JobPatch), facts())


def test_a_patch_changes_what_it_names_and_clears_what_is_null():
    job = made(description="old", sessionKey=MAIN, payload={**TURN, "timeoutSeconds": 5})
    again = patched(job, name="new", description=None, payload={"kind": "agentTurn", "message": "other"})
    assert (again.name, again.description, again.id, again.created_at_ms) == ("new", None, job.id, job.created_at_ms)
    assert msgspec.to_builtins(again.payload) == {"kind": "agentTurn", "message": "other", "timeoutSeconds": 5}
    assert again.schedule == job.schedule
    cleared = patched(job, payload={"kind": "agentTurn", "timeoutSeconds": None})
    assert msgspec.to_builtins(cleared.payload) == TURN


@pytest.mark.parametrize(
    ("enabled", "fields", "refused"),
    [
        (True, {"description": "new"}, False), (True, {"enabled": False}, False), (True, {"enabled": True}, False),
        (False, {"description": "new"}, False), (False, {"enabled": False}, False), (False, {"enabled": True}, True),
        (True, {"schedule": {"kind": "at", "at": NOW - 1}}, True),
        (False, {"schedule": {"kind": "at", "at": NOW - 2}}, True),
        (True, {"schedule": {"kind": "at", "at": NOW + 1}}, False),
        (False, {"schedule": {"kind": "at", "at": NOW + 1}, "enabled": True}, False),
    ],
)  # fmt: skip
def test_a_time_that_is_over_is_refused_to_who_asks_for_it_alone(enabled: bool, fields: dict[str, Any], refused: bool):
    soon: Any = made(schedule={"kind": "at", "at": NOW + 1}, enabled=enabled)
    job = replace(soon, schedule=replace(soon.schedule, at=NOW - 1))
    if refused:
        with pytest.raises(Refusal, match="no upcoming run time and would never fire"):
            patched(job, **fields)
    else:
        found = patched(job, **fields)
        assert found.schedule == (job.schedule if "schedule" not in fields else soon.schedule)
        assert (found.enabled, found.description) == (fields.get("enabled", enabled), fields.get("description"))


def test_a_payload_of_another_kind_must_be_whole():
    job = made()
    assert msgspec.to_builtins(patched(job, payload=COMMAND).payload) == {"kind": "command", "argv": ("ls", "-l")}
    with pytest.raises(Refusal, match="invalid cron payload patch"):
        patched(job, payload={"kind": "command"})
    with pytest.raises(Refusal, match="invalid cron payload patch"):
        patched(job, payload={"kind": "agentTurn", "argv": ["ls"]})


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("session:diary", "agent:main:diary"), ("session: Diary ", "agent:main:diary"),
        ("session:agent:main:x", "agent:main:x"),
        ("session:", None), ("session:a b", None), ("session:agent:", None),
    ],
)  # fmt: skip
def test_the_session_a_target_names(target: str, key: str | None):
    found = bound_key(target, "main")
    assert (str(found) if found else None) == key


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("http://x", True), ("https://x/y?z", True), ("HTTPS://x", True), ("http://", False), ("x", False),
        (None, False),
        ("http://x y", False), ("http:///x", False), ("http://x\r\nHost: y", False),
    ],
)  # fmt: skip
def test_what_may_be_the_address_of_a_webhook(text: str | None, right: bool):
    assert is_address(text) is right
