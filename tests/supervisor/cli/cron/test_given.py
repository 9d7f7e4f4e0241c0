"""What is written of a job on a command line: every flag, and every sentence that says what it takes."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.protocol.spans import parse_span
from supervisor.cli.cron.given import fields_of, instant_of
from supervisor.cli.cron.make import target_of
from supervisor.cli.errors import Usage

NOW = 1_800_000_000_000  # 2027-01-15T08:00:00Z


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("90s", 90_000), ("10m", 600_000), ("10min", 600_000), ("1h30m", 5_400_000), ("2d", 172_800_000),
        ("1w", 604_800_000), ("250ms", 250), ("1.5h", 5_400_000), ("+20m", 1_200_000), (" 1 H ", 3_600_000),
        ("", None), ("10", None), ("m", None), ("-5m", None), ("5 years", None), ("1h-5m", None), ("١٠m", None),
    ],
)  # fmt: skip
def test_lengths_of_time(text: str, ms: int | None):
    assert parse_span(text) == ms


@pytest.mark.parametrize(
    ("text", "tz", "instant"),
    [
        ("20m", None, "2027-01-15T08:20:00.000Z"),
        ("+1d", "Europe/Berlin", "2027-01-16T08:00:00.000Z"),
        ("1893456000000", None, "1893456000000"),
        ("2030-01-01T00:00:00Z", None, "2030-01-01T00:00:00.000Z"),
        ("2030-01-01T00:00:00+01:00", "America/New_York", "2029-12-31T23:00:00.000Z"),
        ("2030-01-01T09:00", None, "2030-01-01T09:00:00.000Z"),
        ("2030-01-01T09:00", "Europe/Berlin", "2030-01-01T08:00:00.000Z"),
        ("2030-07-01 09:00", "Europe/Berlin", "2030-07-01T07:00:00.000Z"),
        ("2027-10-31T02:30", "Europe/Berlin", "2027-10-31T00:30:00.000Z"),  # there are two: the first
    ],
)
def test_instants(text: str, tz: str | None, instant: str):
    assert instant_of(text, tz, NOW) == instant


EVERY, SAID = {"every": "10m"}, {"message": "hi"}
TURN = {"kind": "agentTurn", "message": "hi"}
GIVEN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    (EVERY, {"schedule": {"kind": "every", "everyMs": 600_000}}),
    ({"at": "20m"}, {"schedule": {"kind": "at", "at": "2027-01-15T08:20:00.000Z"}}),
    ({"cron": "0 9 * * 1-5"}, {"schedule": {"kind": "cron", "expr": "0 9 * * 1-5"}}),
    ({"cron": "@daily", "tz": "Europe/Berlin", "exact": True},
     {"schedule": {"kind": "cron", "expr": "@daily", "tz": "Europe/Berlin", "staggerMs": 0}}),
    ({"cron": "@daily", "stagger": "5m"}, {"schedule": {"kind": "cron", "expr": "@daily", "staggerMs": 300_000}}),
    (SAID, {"payload": TURN}),
    ({**SAID, "timeout_seconds": 0}, {"payload": {**TURN, "timeoutSeconds": 0}}),
    ({"system_event": "tea"}, {"payload": {"kind": "systemEvent", "text": "tea"}}),
    ({"command": "df -h '/my disk'", "cwd": "/", "env": ("A=1", "B=x=y")},
     {"payload": {"kind": "command", "argv": ["df", "-h", "/my disk"], "cwd": "/", "env": {"A": "1", "B": "x=y"}}}),
    ({"payload_kind": "command", "timeout_seconds": 5}, {"payload": {"kind": "command", "timeoutSeconds": 5}}),
    ({"announce": True}, {"delivery": {"mode": "announce"}}),
    ({"to": "scout"}, {"delivery": {"mode": "announce", "to": "agent:scout:main"}}),
    ({"webhook": "https://example.net/h", "best_effort": True},
     {"delivery": {"mode": "webhook", "to": "https://example.net/h", "bestEffort": True}}),
    ({"no_deliver": True}, {"delivery": {"mode": "none"}}),
    ({"name": "a", "agent": "scout", "session": "isolated", "misfire": "skip", "overlap": "wait", "wake": "now"},
     {"name": "a", "agentId": "scout", "sessionTarget": "isolated", "misfire": "skip", "overlap": "wait",
      "wakeMode": "now"}),
    ({"session_key": "scout", "delete_after_run": False, "misfire_cap": 3, "alert_after": 2, "enabled": False},
     {"sessionKey": "agent:scout:main", "deleteAfterRun": False, "misfireCap": 3, "failureAlert": {"after": 2},
      "enabled": False}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "fields"), GIVEN, ids=[" ".join(given) or "nothing" for given, _ in GIVEN])
def test_flags_become_what_travels(given: dict[str, Any], fields: dict[str, Any]):
    assert fields_of(given, NOW) == fields


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"every": "soon"}, '--every "soon"', "1h30m"),
    ({"every": "5ms"}, '--every "5ms" is too short', "1000 ms"),
    ({"every": "1h", "at": "1h"}, "--every and --at", "one of"),
    ({"at": "tomorrow"}, '--at "tomorrow"', "--tz"),
    ({"at": "2027-03-28T02:30", "tz": "Europe/Berlin"}, "does not exist in Europe/Berlin", "put forward"),
    ({"cron": "* * * * *", "tz": "Mars"}, '--tz "Mars"', "Europe/Berlin"),
    ({"every": "1h", "tz": "UTC"}, "--tz goes with", "--cron or --at"),
    ({"every": "1h", "exact": True}, "--exact", "go with --cron"),
    ({"cron": "* * * * *", "stagger": "1m", "exact": True}, "--stagger or --exact", "not both"),
    ({"cron": "* * * * *", "stagger": "2d"}, "--stagger", "the most is 1d"),
    ({"message": "a", "command": "b"}, "--message, --command and --system-event", "one of"),
    ({"command": "echo 'a"}, "--command", "quote"),
    ({"command": " "}, "--command is empty", "df -h /"),
    ({"message": "a", "cwd": "/"}, "--cwd", "go with --command"),
    ({"command": "a", "env": ("B",)}, '--env "B"', "NAME=VALUE"),
    ({"system_event": "a", "timeout_seconds": 1}, "--timeout-seconds", "--message or --command"),
    ({"announce": True, "no_deliver": True}, "--announce, --webhook and --no-deliver", "one of"),
    ({"webhook": "https://a", "to": "main"}, "--to goes with --announce", "session"),
    ({"to": "not a session"}, '"not a session"', "session"),
    ({"best_effort": True}, "--best-effort", "--announce or --webhook"),
]


@pytest.mark.parametrize(("given", "flag", "allowed"), WRONG, ids=[f"{flag}: {allowed}" for _, flag, allowed in WRONG])
def test_what_makes_no_sense_is_told_with_its_flag_and_with_what_does(given: dict[str, Any], flag: str, allowed: str):
    with pytest.raises(Usage) as told:
        fields_of(given, NOW)
    said = f"{told.value.message} {told.value.fix or ''}"
    assert flag in said
    assert allowed in said


@pytest.mark.parametrize(
    ("text", "target"),
    [(None, None), ("main", "main"), ("isolated", "isolated"), ("current", "current"), ("session:a", "session:a"),
     ("agent:main:x", "session:agent:main:x")],
)  # fmt: skip
def test_targets(text: str | None, target: str | None):
    assert target_of(text) == target


@pytest.mark.parametrize("text", ["", "session:", "somewhere"])
def test_a_target_there_is_not(text: str):
    with pytest.raises(Usage, match="main, isolated, current, or session:ID"):
        target_of(text)
