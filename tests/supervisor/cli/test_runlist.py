"""`peergate runs`: what it asks for, in which order it tells, and what fits a narrow terminal."""

from __future__ import annotations

import os
from typing import Any

import pytest

from supervisor.cli.runlist import runs_text
from tests.supervisor.cli.support import Shell, answering
from tests.support.fake_door import FakeDoor

HELD: dict[str, Any] = {
    "runId": "0b7c7c9e-55aa-4b5b-9d5b-0c1d0f6f3a11", "sessionKey": "agent:scout:main", "agentId": "scout",
    "state": "queued", "attempt": 0, "createdAt": 1_000_000, "waits": "agent scout is in quarantine",
}  # fmt: skip
OVER: dict[str, Any] = {
    "runId": "5d0c2f57-c7a3-4b7e-8a8d-6d6a5a8a2b10", "sessionKey": "agent:main:main", "agentId": "main",
    "state": "failed", "attempt": 3, "createdAt": 1_000_000, "startedAt": 1_001_000, "endedAt": 1_063_000,
    "error": "its worker died",
}  # fmt: skip


def listing(params: dict[str, Any]) -> dict[str, Any]:
    return {"runs": [HELD] if params.get("unfinished") else [OVER, HELD]}


def test_what_goes_on_comes_first_and_each_run_once(peergate: Shell):
    with FakeDoor(peergate.runtime, {"runs.list": listing}) as door:
        told, document = peergate("runs"), peergate("runs", "--json").document
        assert peergate("runs", "-n", "1", "--json").document == {"runs": [HELD]}
    assert document == {"runs": [HELD, OVER]}
    head, first, second = told.out.splitlines()
    assert head.split()[:7] == ["RUN", "STATE", "AGE", "TOOK", "TRY", "AGENT", "SESSION"]
    assert first.startswith(HELD["runId"])
    assert first.endswith("scout  agent:scout:main  agent scout is in quarantine")
    assert second.endswith("1 min    3  main   agent:main:main   its worker died")
    assert door.calls("runs.list")[:2] == [{"unfinished": True, "limit": 50}, {"limit": 50}]


def test_the_filters_are_passed_on_and_nothing_found_is_said(peergate: Shell):
    words = ("--session", "main", "--agent", "main", "--state", "timed_out", "--limit", "7")
    agents, known = answering({"agents": [{"id": "main"}]}), answering({"session": {}})
    answers = {"runs.list": answering({"runs": []}), "agents.list": agents, "sessions.describe": known}
    with FakeDoor(peergate.runtime, answers) as door:
        assert peergate("runs", *words).out == "no runs\n"
    wanted = {"sessionKey": "agent:main:main", "agentId": "main", "state": "timed_out", "limit": 7}
    assert door.calls("runs.list") == [{**wanted, "unfinished": True}, wanted]
    assert peergate("runs", "--state", "nosuch").code == 2


def test_a_run_that_goes_on_has_taken_until_now():
    running = {**OVER, "state": "running", "endedAt": None, "error": None}
    assert "3 min  2 min" in runs_text([running], now=1180.5)
    assert runs_text([{**HELD, "createdAt": 2e9}], now=1.0).splitlines()[1].split()[2:5] == ["0", "ms", "-"]


def test_eighty_columns_are_enough(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((80, 24)))
    monkeypatch.setattr("sys.stdout.fileno", lambda: 1, raising=False)
    child = {**OVER, "sessionKey": "agent:main:subagent:2f0b9c62-7c5b-4b8e-9a53-7d1f6a2c9e01"}
    lines = runs_text([HELD, child], now=4600.0).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[0::2]] == ["RUN", HELD["runId"], OVER["runId"]]
    assert lines[3] == "  agent:scout:main  agent scout is in quarantine"
    assert lines[5].startswith(f"  {child['sessionKey']}  its worker died")
