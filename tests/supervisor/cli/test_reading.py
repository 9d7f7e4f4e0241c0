"""The commands that read a running system: what they ask, what they print, what they exit with."""

from __future__ import annotations

import json

import pytest

from tests.supervisor.cli.support import Shell, answering, tools
from tests.support.fake_door import FakeDoor

HEALTH = {
    "ok": True, "ts": 1, "uptimeMs": 61_000, "version": "0.1.0", "generation": 2, "epoch": 3, "defaultAgentId": "main",
    "agents": [{"id": "main", "runtime": "python"}, {"id": "scout", "runtime": "python", "quarantined": True}],
    "sessions": {"total": 4}, "runs": {"done": 3, "queued": 0}, "workers": 1, "connections": 2, "database": {},
}  # fmt: skip
PROCESSES = [
    {"kind": "supervisor", "pid": 10, "ppid": 1, "uid": 0, "state": "S", "rssBytes": 1 << 20, "command": "supervisor"},
    {"kind": "tool", "pid": 31, "ppid": 30, "uid": 0, "state": "S", "rssBytes": 2048,
     "agentId": "main", "command": "sh"},
    {"kind": "worker", "pid": 30, "ppid": 10, "uid": 0, "state": "S", "rssBytes": 4096, "pssBytes": 2048,
     "agentId": "main", "sessionKey": "agent:main:main"},
    {"kind": "gateway", "pid": 20, "ppid": 10, "uid": 0, "state": "S", "rssBytes": 4096},
]  # fmt: skip


def test_health_tells_a_person_and_a_program(peergate: Shell):
    with FakeDoor(peergate.runtime, {"health": answering(HEALTH)}):
        told, document = peergate("health"), peergate("health", "--json")
    assert told.code == document.code == 0
    assert "well" in told.out
    assert "scout (quarantined)" in told.out
    assert "3 done" in told.out
    assert document.document == HEALTH


def test_a_system_that_is_not_well_is_an_exit_code_unless_only_life_is_asked_for(peergate: Shell):
    ailing = {**HEALTH, "ok": False, "database": {"trouble": "the disk is full"}}
    with FakeDoor(peergate.runtime, {"health": answering(ailing)}):
        told, document, alive = peergate("health"), peergate("health", "--json"), peergate("health", "--alive")
    assert (told.code, document.code, alive.code) == (1, 1, 0)
    assert "NOT WELL" in told.out
    assert told.out == alive.out
    assert document.document == ailing


def test_options_are_understood_before_and_after_the_command(peergate: Shell):
    elsewhere = peergate.home / "elsewhere"
    with FakeDoor(elsewhere, {"health": answering(HEALTH)}):
        assert peergate("--runtime-dir", str(elsewhere), "--json", "health").document == HEALTH
        assert peergate("health", "--json", "--runtime-dir", str(elsewhere)).document == HEALTH


def test_nothing_runs(peergate: Shell):
    told = peergate("health")
    assert told.code == 69
    assert (
        told.err
        == f"peergate: peergate is not running here: {peergate.runtime} does not exist\n  start it with: peergate up\n"
    )
    assert told.out == ""


def test_with_json_an_error_is_a_document_too(peergate: Shell):
    told = peergate("health", "--json")
    assert told.code == 69
    assert told.document["error"]["code"] == "NOT_RUNNING"
    assert told.document["error"]["exitCode"] == 69
    assert told.document["error"]["fix"] == "start it with: peergate up"


def test_ps_shows_whose_child_each_process_is(peergate: Shell):
    with FakeDoor(peergate.runtime, {"system.processes": answering(PROCESSES)}):
        told, document = peergate("ps"), peergate("ps", "--json")
    kinds = [line.split()[1] for line in told.out.splitlines()[1:]]
    assert kinds == ["supervisor", "worker", "tool", "gateway"]
    assert "    tool" in told.out
    assert [row["kind"] for row in document.document] == ["supervisor", "tool", "worker", "gateway"]
    fields = {"kind", "pid", "ppid", "uid", "agentId", "sessionKey", "state", "rssBytes", "pssBytes"}
    assert all(fields <= set(row) for row in document.document)


def test_ps_in_a_circle_of_parents_still_ends(peergate: Shell):
    rows = [{"kind": "tool", "pid": 2, "ppid": 3, "uid": 0, "state": "S", "rssBytes": 1}, {**PROCESSES[0], "ppid": 10}]
    with FakeDoor(peergate.runtime, {"system.processes": answering(rows)}):
        assert peergate("ps").code == 0


def test_status_prints_whatever_the_gateway_tells(peergate: Shell):
    tree = {
        "health": {"ok": True},
        "doors": [{"name": "operator", "connections": 1}],
        "source": None,
        "words": ["a", "b"],
    }
    with FakeDoor(peergate.runtime, {"status": answering(tree)}):
        told = peergate("status")
        assert peergate("status", "--json").document == tree
    assert told.out.splitlines() == [
        "health:", "  ok: yes", "doors:", "  - name operator, connections 1", "source: -", "words: a, b",
    ]  # fmt: skip


def test_status_tells_the_addresses_that_the_supervisor_holds(peergate: Shell):
    with FakeDoor(peergate.runtime, {"status": answering({"ok": True})}):
        (peergate.runtime / "status.json").write_text(json.dumps({"addresses": ["127.0.0.1:1", "[::1]:1"]}))
        assert peergate("status", "--json").document == {"ok": True, "addresses": ["127.0.0.1:1", "[::1]:1"]}
        assert "addresses: 127.0.0.1:1, [::1]:1" in peergate("status").out


def test_status_says_whose_pid_is_which(peergate: Shell):
    tree = {"pid": 12, "supervisorPid": 11}
    with FakeDoor(peergate.runtime, {"status": answering(tree)}):
        assert peergate("status").out.splitlines() == ["gatewayPid: 12", "supervisorPid: 11"]
        assert peergate("status", "--json").document == tree
    (peergate.runtime / "status.json").write_text(json.dumps({"pid": 11, "gateway": {"pid": 12}}))
    assert peergate("status").out.splitlines() == ["supervisorPid: 11", "gateway:", "  pid: 12"]


def test_status_falls_back_on_what_the_supervisor_wrote(peergate: Shell):
    peergate.runtime.mkdir()
    (peergate.runtime / "status.json").write_text(json.dumps({"gateway": {"state": "BACKOFF"}}))
    told = peergate("status")
    assert told.code == 69
    assert "state: BACKOFF" in told.out
    assert "no gateway answers" in told.err


def test_agents_are_listed_and_held_alone(peergate: Shell):
    listed = {"agents": [{"id": "main", "runtime": "python", "isDefault": True, "workers": 2}]}
    held = {f"agents.{what}": answering({"ok": True}) for what in ("stop", "restart", "quarantine", "release")}
    with FakeDoor(peergate.runtime, {"agents.list": answering(listed), **held}) as door:
        assert "main *" in peergate("agents").out
        assert peergate("agents", "list", "--json").document == listed
        assert peergate("agents", "quarantine", "main", "--reason", "it loops").out == "main is in quarantine\n"
        for what in ("stop", "restart", "release"):
            assert peergate("agents", what, "main").code == 0
    assert door.calls("agents.quarantine") == [{"agentId": "main", "reason": "it loops"}]
    assert door.calls("agents.stop") == [{"agentId": "main"}]


def test_agents_that_are_held_say_why_and_what_ends_it(peergate: Shell):
    held = "agent scout is in quarantine (it loops); to release it: peergate agents release scout"
    row = {"id": "scout", "runtime": "python", "quarantined": True, "held": held}
    with FakeDoor(peergate.runtime, {"agents.list": answering({"agents": [row]})}):
        head, told = peergate("agents").out.splitlines()
    assert head.endswith("STATE        WHY, AND WHAT ENDS IT")
    assert told.endswith(f"quarantined  {held}")


def test_sessions_pass_their_filters_on(peergate: Shell):
    row = {"key": "agent:main:main", "status": "done", "updatedAt": 1, "label": "x"}
    with FakeDoor(peergate.runtime, {"sessions.list": answering({"sessions": [row]})}) as door:
        told = peergate("sessions", "--agent", "main", "--active", "5", "--spawned-by", "main", "-n", "3")
    assert "agent:main:main" in told.out
    assert door.calls("sessions.list") == [
        {"agentId": "main", "activeMinutes": 5, "limit": 3, "spawnedBy": "agent:main:main"}
    ]


def test_history_prints_both_forms_of_content_harmlessly(peergate: Shell):
    messages = [
        {
            "role": "user",
            "content": "hi\x1b[2J",
            "timestamp": 0,
            "provenance": {"sourceSessionKey": "agent:scout:main"},
        },
        {"role": "assistant", "content": [{"type": "text", "text": "hello"}], "timestamp": 0},
    ]
    with FakeDoor(peergate.runtime, {"chat.history": answering({"messages": messages})}) as door:
        told = peergate("history", "main")
    assert "user (from agent:scout:main)" in told.out
    assert "hi\\x1b[2J" in told.out
    assert "    hello" in told.out
    assert door.calls("chat.history")[0]["sessionKey"] == "agent:main:main"


def test_history_of_a_session_that_is_not_there_names_the_nearest(peergate: Shell):
    handlers = {
        "chat.history": answering({"sessionId": None, "messages": []}),
        "sessions.list": answering({"sessions": [{"key": "agent:main:main"}]}),
    }
    with FakeDoor(peergate.runtime, handlers) as door:
        told, document = peergate("history", "mian"), peergate("history", "mian", "--json")
        door.handlers["chat.history"] = answering({"sessionId": "s", "messages": []})
        empty = peergate("history", "main")
    assert told.code == document.code == 1
    assert "there is no session agent:mian:main" in told.err
    assert document.document["error"]["fix"] == "the nearest: agent:main:main"
    assert (empty.code, empty.out) == (0, "nothing was said yet\n")


@pytest.mark.parametrize(("status", "code"), [("error", 1), ("forbidden", 77)])
def test_inside_an_agent_a_history_that_is_refused_is_no_empty_one(peergate: Shell, status: str, code: int):
    with FakeDoor(peergate.runtime, tools(sessions_history={"status": status, "error": "there is none"})) as door:
        door.principal = {"kind": "tool", "agentId": "main"}
        told = peergate("history", "main")
    assert (told.code, "there is none" in told.err) == (code, True)


def test_inside_an_agent_reading_goes_through_the_session_tools(peergate: Shell):
    results = tools(
        sessions_list={"sessions": []}, sessions_history={"messages": []}, agents_list={"agents": [{"id": "main"}]}
    )
    with FakeDoor(peergate.runtime, results) as door:
        door.principal = {"kind": "tool", "agentId": "main"}
        for words in (("sessions",), ("history", "main"), ("agents",)):
            assert peergate(*words).code == 0
    assert [call["name"] for call in door.calls("tools.invoke")] == ["sessions_list", "sessions_history", "agents_list"]
