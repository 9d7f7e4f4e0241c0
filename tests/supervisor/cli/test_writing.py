"""The commands that change something: what they ask for, what they print, what they exit with."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.cli.errors import Unanswered
from supervisor.cli.send import SLACK_SECONDS
from tests.supervisor.cli.support import Shell, answering, tools
from tests.support.fake_door import FakeDoor, Handler, No, Silence

SPAWNED = {"status": "accepted", "childSessionKey": "agent:main:subagent:1", "runId": "r1", "mode": "run"}


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


class Clock:
    """A gateway that takes no message, and the seconds somebody waits for it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def unanswered(self, *_: object, timeout: float, hello_seconds: float) -> None:
        self.now += max(timeout, hello_seconds)
        raise Unanswered("the gateway does not answer")


@pytest.mark.parametrize(
    ("words", "seconds"), [(("--timeout", "1"), 1), (("--timeout", "20"), 20), (("--no-wait",), 27), (("--wait",), 27)]
)
def test_a_send_that_nobody_takes_ends_with_its_timeout(
    peergate: Shell, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], seconds: int
):
    clock = Clock()
    monkeypatch.setattr("supervisor.cli.asking.time", clock)
    monkeypatch.setattr("supervisor.cli.asking.ask_once", clock.unanswered)
    assert peergate("send", "main", "x", *words).code == 69
    assert clock.now - 1000 == seconds + SLACK_SECONDS


def test_what_nobody_answered_can_be_asked_for_again_and_counts_once(peergate: Shell, monkeypatch: pytest.MonkeyPatch):
    def silent(_: dict[str, Any]) -> Any:
        raise Silence

    monkeypatch.setattr("supervisor.cli.send.SLACK_SECONDS", -0.9)
    with FakeDoor(peergate.runtime, {"tools.invoke": silent}) as door:
        told = peergate("send", "main", "x", "--timeout", "1", "--json")
    error, key = told.document["error"], door.calls("tools.invoke")[0]["idempotencyKey"]
    assert (told.code, error["code"], error["idempotencyKey"]) == (69, "NO_ANSWER", key)
    assert error["fix"] == f"the message may still be taken; to ask, give the same command again with --key {key}"
    assert error["fix"] in told.err
    answers = {**tools(sessions_send={"status": "ok", "reply": "pong"}, sessions_spawn=SPAWNED)}
    turn = {"agent": answering({"runId": key}), "agent.wait": answering({"runId": key, "status": "ok", "reply": "hi"})}
    with FakeDoor(peergate.runtime, {**answers, **turn}) as door:
        assert peergate("send", "main", "x", "--timeout", "1", "--key", key).out == "pong\n"
        assert peergate("spawn", "x", "--key", key).code == 0
        assert peergate("send", "main", "x", "--wait", "--key", key).out == "hi\n"
    assert [call["idempotencyKey"] for call in door.calls("tools.invoke") + door.calls("agent")] == [key] * 3


@pytest.mark.parametrize("words", [("send", "main", "x"), ("send", "main", "x", "--wait"), ("spawn", "x")])
def test_a_key_that_is_empty_is_refused_and_nothing_asked(peergate: Shell, words: tuple[str, ...]):
    with FakeDoor(peergate.runtime, {}) as door:
        told = peergate(*words, "--key", "")
    assert (told.code, door.calls("tools.invoke"), door.calls("agent")) == (2, [], [])
    assert told.err.startswith("peergate: --key is empty\n")


@pytest.mark.parametrize("more", [("--no-wait",), ("--session-key", "scout")])
def test_a_turn_that_is_waited_for_is_the_callers_own(peergate: Shell, more: tuple[str, ...]):
    with FakeDoor(peergate.runtime, {}) as door:
        told = peergate("send", "main", "x", "--wait", *more)
    assert (told.code, door.calls("agent"), door.calls("tools.invoke")) == (2, [], [])
    assert "--wait goes with neither --no-wait nor --session-key" in told.err


def test_a_refusal_begins_with_what_is_wrong_and_not_with_the_name_on_the_wire(peergate: Shell):
    def refuse(_: dict[str, Any]) -> Any:
        raise No("INVALID_REQUEST", "message must not be empty")

    with FakeDoor(peergate.runtime, {"tools.invoke": refuse}):
        told, document = peergate("send", "main", "x"), peergate("send", "main", "x", "--json").document
    assert told.err == "peergate: message must not be empty\n"
    assert document["error"]["message"] == "message must not be empty"
    assert document["error"]["method"] == "tools.invoke"


def test_where_nothing_runs_nothing_is_in_doubt(peergate: Shell):
    error = peergate("send", "main", "x", "--json").document["error"]
    assert (error["code"], error["fix"]) == ("NOT_RUNNING", "start it with: peergate up")
    assert "idempotencyKey" not in error


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
        ({"runId": "r", "status": "error", "error": "no worker"}, 1, "run r failed: no worker"),
        (
            {"runId": "r", "status": "error", "state": "aborted", "error": "by me"},
            1,
            "run r was aborted: by me",
        ),
        ({"runId": "r", "status": "error", "state": "interrupted"}, 1, "run r was interrupted: no reason was given"),
        (
            {"runId": "r", "status": "timeout", "state": "timed_out", "stopReason": "time", "reply": "half"},
            1,
            "run r ran out of time: time\nhalf",
        ),
        ({"runId": "r", "status": "pending", "state": "running"}, 1, "still running: peergate wait r"),
        (
            {"runId": "r", "status": "pending", "state": "queued", "waits": "it is held"},
            1,
            "still queued (it is held): peergate wait r",
        ),
    ],
)
def test_wait_says_how_a_run_stands(peergate: Shell, result: dict[str, Any], code: int, words: str):
    with FakeDoor(peergate.runtime, {"agent.wait": answering(result)}):
        told = peergate("wait", "r", "--timeout", "0")
    assert (told.code, told.out) == (code, f"{words}\n")


def test_wait_says_once_why_a_run_waits_for_its_agent(peergate: Shell):
    held = {"runId": "r", "status": "pending", "state": "queued", "waits": "agent main is in quarantine"}
    ends = iter([held, held, {"runId": "r", "status": "ok", "reply": "at last"}])
    with FakeDoor(peergate.runtime, {"agent.wait": lambda _: next(ends)}):
        told = peergate("wait", "r")
    assert (told.code, told.out) == (0, "at last\n")
    assert told.err == "still queued: agent main is in quarantine\n"


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


def test_abort_of_a_session_that_is_not_there_names_the_nearest(peergate: Shell):
    handlers = {
        "chat.abort": answering({"ok": True, "aborted": False, "runIds": []}),
        "sessions.describe": answering({"session": None}),
        "sessions.list": answering({"sessions": [{"key": "agent:main:main"}, {"key": "agent:zz:main"}]}),
    }
    with FakeDoor(peergate.runtime, handlers) as door:
        told = peergate("abort", "agent:mian:main")
        door.handlers["sessions.describe"] = answering({"session": {"key": "agent:main:main"}})
        idle = peergate("abort", "main")
    assert told.code == 1
    assert "there is no session agent:mian:main" in told.err
    assert "the nearest: agent:main:main" in told.err
    assert (idle.code, idle.out) == (0, "nothing was running\n")


def test_a_refusal_names_what_is_missing_and_exits_77(peergate: Shell):
    def refuse(_: dict[str, Any]) -> Any:
        raise No("FORBIDDEN", "missing scope: operator.admin (tool of agent main (pid 7, uid 0))")

    with FakeDoor(peergate.runtime, {"agents.stop": refuse}):
        told = peergate("agents", "stop", "main")
    assert told.code == 77
    assert "missing scope: operator.admin" in told.err
