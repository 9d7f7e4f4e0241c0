"""Each command through the front door: what it asks, what it prints, what it exits with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.supervisor.cli.support import Shell
from tests.support.fake_door import FakeDoor, Handler, No

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
SPAWNED = {"status": "accepted", "childSessionKey": "agent:main:subagent:1", "runId": "r1", "mode": "run"}


def answering(payload: Any) -> Handler:
    return lambda _: payload


def tools(**results: Any) -> dict[str, Handler]:
    return {"tools.invoke": lambda params: results[params["name"]]}


# --- reading ----------------------------------------------------------------------------------------------------------


def test_health_tells_a_person_and_a_program(peergate: Shell):
    with FakeDoor(peergate.runtime, {"health": answering(HEALTH)}):
        told, document = peergate("health"), peergate("health", "--json")
    assert told.code == document.code == 0
    assert "well" in told.out
    assert "scout (quarantined)" in told.out
    assert "3 done" in told.out
    assert document.document == HEALTH


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
        "health:", "  ok: True", "doors:", "  - name operator, connections 1", "source: -", "words: a, b",
    ]  # fmt: skip


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


def test_inside_an_agent_reading_goes_through_the_session_tools(peergate: Shell):
    results = tools(
        sessions_list={"sessions": []}, sessions_history={"messages": []}, agents_list={"agents": [{"id": "main"}]}
    )
    with FakeDoor(peergate.runtime, results) as door:
        door.principal = {"kind": "tool", "agentId": "main"}
        for words in (("sessions",), ("history", "main"), ("agents",)):
            assert peergate(*words).code == 0
    assert [call["name"] for call in door.calls("tools.invoke")] == ["sessions_list", "sessions_history", "agents_list"]


# --- writing ----------------------------------------------------------------------------------------------------------


def test_send_uses_the_session_tool_and_names_no_session(peergate: Shell):
    result = {"status": "ok", "reply": "pong", "runId": "r"}
    with FakeDoor(peergate.runtime, tools(sessions_send=result)) as door:
        assert peergate("send", "scout", "ping").out == "pong\n"
        assert peergate("send", "scout", "ping", "--json").document == result
    call = door.calls("tools.invoke")[0]
    assert call["args"] == {"sessionKey": "agent:scout:main", "message": "ping", "timeoutSeconds": 30}
    assert "sessionKey" not in call
    assert call["idempotencyKey"]


@pytest.mark.parametrize(
    ("words", "args"),
    [
        (("agent:main:x", "m", "--timeout", "5"), {"sessionKey": "agent:main:x", "message": "m", "timeoutSeconds": 5}),
        (("main", "m", "--no-wait"), {"sessionKey": "agent:main:main", "message": "m", "timeoutSeconds": 0}),
        (("m", "--label", "work"), {"label": "work", "message": "m", "timeoutSeconds": 30}),
        (("main", "--", "--json"), {"sessionKey": "agent:main:main", "message": "--json", "timeoutSeconds": 30}),
        (("main", "-x is wrong"), {"sessionKey": "agent:main:main", "message": "-x is wrong", "timeoutSeconds": 30}),
    ],
)
def test_send_in_all_its_forms(peergate: Shell, words: tuple[str, ...], args: dict[str, Any]):
    with FakeDoor(peergate.runtime, tools(sessions_send={"status": "accepted", "runId": "r"})) as door:
        told = peergate("send", *words)
    assert told.code == 0
    assert "peergate wait r" in told.out
    assert door.calls("tools.invoke")[0]["args"] == args


@pytest.mark.parametrize(("status", "code"), [("forbidden", 77), ("error", 1), ("timeout", 1), ("no_reply", 0)])
def test_what_the_tool_says_is_the_exit_code(peergate: Shell, status: str, code: int):
    result = {"status": status, "error": "because"}
    with FakeDoor(peergate.runtime, tools(sessions_send=result, sessions_spawn=result)):
        told, document = peergate("send", "main", "x"), peergate("send", "main", "x", "--json")
    assert told.code == document.code == code
    assert "because" in told.err + told.out
    assert document.document == result


def test_an_operator_may_act_as_a_session(peergate: Shell):
    with FakeDoor(peergate.runtime, tools(sessions_spawn=SPAWNED)) as door:
        told = peergate("spawn", "work", "--session-key", "main", "--agent", "scout", "--label", "l", "--delete")
    assert "peergate wait r1" in told.out
    call = door.calls("tools.invoke")[0]
    assert call["sessionKey"] == "agent:main:main"
    assert call["args"] == {"task": "work", "agentId": "scout", "label": "l", "cleanup": "delete"}


def test_spawn_prints_the_tools_result_as_it_is(peergate: Shell):
    with FakeDoor(peergate.runtime, tools(sessions_spawn=SPAWNED)):
        assert peergate("spawn", "work", "--json").document == SPAWNED


def test_send_wait_runs_a_turn_to_its_end(peergate: Shell):
    ends = iter([{"runId": "r", "status": "pending"}, {"runId": "r", "status": "ok", "reply": "done at last"}])
    handlers: dict[str, Handler] = {"agent": answering({"runId": "r"}), "agent.wait": lambda _: next(ends)}
    with FakeDoor(peergate.runtime, handlers) as door:
        assert peergate("send", "main", "x", "--wait").out == "done at last\n"
    assert door.calls("agent")[0]["sessionKey"] == "agent:main:main"


@pytest.mark.parametrize(
    ("result", "code", "words"),
    [
        ({"runId": "r", "status": "ok", "reply": "yes"}, 0, "yes"),
        ({"runId": "r", "status": "error", "error": "no worker"}, 1, "error: no worker"),
        ({"runId": "r", "status": "timeout", "stopReason": "time", "reply": "half"}, 1, "timeout: time\nhalf"),
        ({"runId": "r", "status": "pending", "state": "running"}, 1, "still running: peergate wait r"),
    ],
)
def test_wait_says_how_a_run_stands(peergate: Shell, result: dict[str, Any], code: int, words: str):
    with FakeDoor(peergate.runtime, {"agent.wait": answering(result)}):
        told = peergate("wait", "r", "--timeout", "0")
    assert (told.code, told.out) == (code, f"{words}\n")


def test_inside_an_agent_wait_and_abort_are_about_its_own_children(peergate: Shell):
    def subagents(params: dict[str, Any]) -> dict[str, Any]:
        if params["args"]["action"] == "cancel":
            return {"status": "ok", "cancelled": ["r1"]}
        return {"status": "ok", "results": [{"taskId": "r1", "status": "ok", "result": "counted"}]}

    with FakeDoor(peergate.runtime, {"tools.invoke": subagents}) as door:
        door.principal = {"kind": "tool"}
        assert peergate("wait", "r1").out == "counted\n"
        assert peergate("abort", "--run", "r1", "--json").document == {"ok": True, "aborted": True, "runIds": ["r1"]}


def test_abort_takes_a_session_or_a_run(peergate: Shell):
    with FakeDoor(
        peergate.runtime, {"chat.abort": answering({"ok": True, "aborted": True, "runIds": ["a", "b"]})}
    ) as door:
        assert peergate("abort", "main", "--reason", "enough").out == "aborted a, b\n"
        assert peergate("abort", "--run", "a").code == 0
        assert peergate("abort").code == 2
    assert door.calls("chat.abort") == [{"sessionKey": "agent:main:main", "reason": "enough"}, {"runId": "a"}]


def test_a_refusal_names_what_is_missing_and_exits_77(peergate: Shell):
    def refuse(_: dict[str, Any]) -> Any:
        raise No("FORBIDDEN", "missing scope: operator.admin (tool of agent main (pid 7, uid 0))")

    with FakeDoor(peergate.runtime, {"agents.stop": refuse}):
        told = peergate("agents", "stop", "main")
    assert told.code == 77
    assert "missing scope: operator.admin" in told.err


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_call_reaches_any_method(peergate: Shell):
    with FakeDoor(peergate.runtime, {"echo": lambda params: params}) as door:
        assert peergate("call", "echo", '{"a": [1]}').document == {"a": [1]}
        assert peergate("call", "--methods").document == ["connect", "echo"]
        assert peergate("call", "nope").code == 1
        assert peergate("call", "echo", "[1]").code == 2
        assert peergate("call", "echo", "{").code == 2
        assert peergate("call").code == 2
    assert len(door.calls("echo")) == 1


def test_events_are_one_line_each(peergate: Shell):
    with FakeDoor(peergate.runtime, {}) as door:
        said = {"sessionKey": "agent:main:main", "stream": "assistant", "data": {"delta": "x"}}
        door.events = [
            {"event": "tick", "payload": {"ts": 1}, "seq": 1},
            {"event": "agent", "payload": said, "seq": 2},
        ]
        told = peergate("events", "-n", "2")
        document = peergate("events", "-n", "1", "--only", "agent", "--session", "main", "--json")
    assert len(told.out.splitlines()) == 2
    assert 'agent:main:main stream=assistant data={"delta": "x"}' in told.out
    assert document.document["event"] == "agent"
    assert document.document["seq"] == 2


LOG_LINE = '{"ts": 0, "level": "info", "logger": "gateway", "msg": "ready", "pid": 7}'


def test_logs_read_json_lines_for_a_person(peergate: Shell):
    tail = {"file": "/x", "cursor": 9, "size": 9, "lines": ["plain words", LOG_LINE]}
    with FakeDoor(peergate.runtime, {"logs.tail": answering(tail)}) as door:
        told = peergate("logs", "-n", "5")
        assert peergate("logs", "--json").document == tail
    assert told.out.splitlines()[0] == "plain words"
    assert told.out.splitlines()[1].endswith("INFO    ready  [logger=gateway pid=7]")
    assert door.calls("logs.tail")[0]["limit"] == 5


def test_the_log_can_be_read_when_nothing_runs(peergate: Shell):
    logs = peergate.home / "state" / "logs"
    logs.mkdir(parents=True)
    (logs / "peergate.log").write_text("first\nlast words\n")
    told = peergate("logs", "-n", "1")
    assert (told.code, told.out) == (0, "last words\n")
    assert "this is" in told.err


def test_no_log_and_no_system_is_not_running(peergate: Shell):
    assert peergate("logs").code == 69


@pytest.mark.parametrize(
    "words", [("nonsense",), ("health", "--wat"), ("wait",), ("send", "main"), ("send", "not a name", "x")]
)
def test_a_command_line_without_sense_is_a_usage_error(peergate: Shell, words: tuple[str, ...]):
    told = peergate(*words)
    assert told.code == 2
    assert "Traceback" not in told.err


def test_a_misspelt_command_is_told_the_nearest(peergate: Shell):
    assert "Did you mean 'sessions'?" in peergate("session").err
