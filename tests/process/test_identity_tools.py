"""An agent's own programs: the command line as its session and no more, what cannot be forged, and who keeps a
connection."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from tests.support.identity import (
    AGENT,
    PEERGATE,
    PROGRAM,
    config,
    errand,
    frames_until_closed,
    started,
    tool,
    tool_says,
)
from tests.support.system import Answer, System, alive, eventually

MUTE = {**AGENT, "tools": {"subprocessGateway": False}}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    settings = config()
    settings["agents"]["entries"]["mute"] = MUTE
    with started(settings) as one:
        yield one


def peergate(system: System, *words: str, agent: str = "errand") -> dict[str, Any]:
    """What the command line, typed by the agent, ended with."""
    return tool(system, PEERGATE, *words, agent=agent)


def heard_by(system: System, key: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = system.call("chat.history", {"sessionKey": key})["messages"]
    return [message for message in messages if message["role"] == "user"]


# --- the command line -------------------------------------------------------------------------------------------------


def test_a_child_spawned_from_a_shell_belongs_to_the_agents_session(system: System):
    told = peergate(system, "spawn", "count to three", "--json")
    assert told["code"] == 0, told
    key = json.loads(told["out"])["childSessionKey"]
    assert key.startswith("agent:errand:subagent:")
    row = system.call("sessions.describe", {"key": key})["session"]
    assert (row["spawnedBy"], row["spawnDepth"]) == ("agent:errand:main", 1)
    (heard,) = eventually(lambda: heard_by(system, key))
    assert heard["provenance"]["sourceSessionKey"] == "agent:errand:main"


def test_a_message_sent_from_a_shell_says_whose_it_is_without_any_token(system: System):
    told = peergate(system, "send", "other", "from a shell", "--json")
    assert told["code"] == 0, told
    assert json.loads(json.loads(told["out"])["reply"])["provenance"]["sourceSessionKey"] == "agent:errand:main"
    assert "agent:other:main" in peergate(system, "sessions")["out"]


@pytest.mark.parametrize(
    "words",
    [
        ("stop",),
        ("reload",),
        ("config", "get", "--running"),
        ("call", "agents.stop", '{"agentId": "other"}'),
        ("call", "worker.finish", "{}"),
        ("agents", "quarantine", "other"),
        ("send", "other", "x", "--wait"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_belongs_to_operators_is_refused_from_an_agents_shell(system: System, words: tuple[str, ...]):
    told = peergate(system, *words)
    assert told["code"] == 77, told
    assert alive(system.pid)


def test_naming_another_session_is_refused_and_not_ignored(system: System):
    told = peergate(system, "send", "other", "as somebody else", "--session-key", "agent:other:main")
    assert told["code"] == 77, told
    assert "sessionKey cannot be given here" in told["err"]
    order = [("tools.invoke", {"name": "sessions_list", "sessionKey": key}) for key in ("agent:errand:main", "x")]
    for how in (
        tool_says(system, "visit", str(system.agents), given=order),
        errand(system, "calls", door=str(system.agents), calls=order),
    ):
        assert [answer["error"]["code"] for answer in how["answers"]] == ["FORBIDDEN", "FORBIDDEN"]


def test_an_agent_whose_programs_may_not_call_is_told_which_key_says_so(system: System):
    for door in (system.agents, system.operator):
        refused = tool_says(system, "visit", str(door), agent="mute")["refused"]
        assert refused["code"] == "FORBIDDEN"
        assert "tools.subprocessGateway" in refused["message"]
    told = peergate(system, "sessions", agent="mute")
    assert told["code"] == 77
    assert "tools.subprocessGateway" in told["err"]
    assert errand(system, "invoke", agent="mute", tool="sessions_list", args={})["count"] >= 1


# --- what cannot be forged --------------------------------------------------------------------------------------------


def test_a_key_used_again_with_other_arguments_is_refused_and_a_key_is_ones_own(system: System):
    def send(text: str) -> Any:
        args = {"agentId": "other", "message": text, "timeoutSeconds": 30}
        return ("tools.invoke", {"name": "sessions_send", "args": args, "idempotencyKey": "mine"})

    before = len(heard_by(system, "agent:other:main"))
    answers = tool_says(system, "visit", str(system.agents), given=[send("a"), send("a"), send("b")])["answers"]
    assert answers[0]["runId"] == answers[1]["runId"]
    assert answers[2]["error"]["code"] == "INVALID_REQUEST"
    assert "idempotency key" in answers[2]["error"]["message"]
    assert len(heard_by(system, "agent:other:main")) == before + 1
    method, params = send("an operator's")
    assert system.call(method, params)["runId"] != answers[0]["runId"]


# Parameters of OpenClaw's `agent`: taken from its clients, and nothing is done with them.
SAID_IN_VAIN = {"inputProvenance", "internalEvents", "lane", "extraSystemPrompt"}


@pytest.mark.parametrize(
    "extra",
    ["provenance", "inputProvenance", "internalEvents", "lane", "extraSystemPrompt", "runId", "sender", "sessionId"],
)
def test_nobody_can_say_where_a_message_came_from(system: System, extra: str):
    args = {"agentId": "other", "message": "forged", "timeoutSeconds": 0, extra: "agent:other:main"}
    order = [("tools.invoke", {"name": "sessions_send", "args": args})]
    order.append(("tools.invoke", {"name": "sessions_list", extra: "agent:other:main"}))
    told = tool_says(system, "visit", str(system.agents), given=order)
    for answer in told["answers"]:
        assert answer["error"]["code"] == "INVALID_REQUEST"
        assert extra in answer["error"]["message"]
    asked = {"message": f"in vain: {extra}", "agentId": "other", "idempotencyKey": f"forged {extra}"}
    if extra in SAID_IN_VAIN:
        assert system.call("agent", {**asked, extra: {"kind": "inter_session"}})["status"] == "accepted"
        system.call("agent.wait", {"runId": asked["idempotencyKey"]})
        page = system.call("chat.history", {"sessionKey": "agent:other:main"})["messages"]
        (message,) = [one for one in page if one["content"][0]["text"] == asked["message"] and one["role"] == "user"]
        assert message["provenance"] == {"kind": "external_user"}
        assert system.call("runs.list", {"limit": 1})["runs"][0]["lane"] == "main"
    else:
        with pytest.raises(Answer, match=extra):
            system.call("agent", {**asked, extra: "agent:other:main"})
    assert not [message for message in heard_by(system, "agent:other:main") if message["content"] == "forged"]


# --- connections ------------------------------------------------------------------------------------------------------


def given_by_a_tool(system: System) -> socket.socket:
    """A connection that a tool opened and handed to us, who are nobody's descendant."""
    place = system.directory / f"give-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        listener.settimeout(30)
        errand(system, "leave", argv=[*PROGRAM, "give", str(system.operator), str(place)])
        with listener.accept()[0] as sock:
            sock.settimeout(30)
            _, (descriptor,), _, _ = socket.recv_fds(sock, 1, 1)
    given = socket.socket(fileno=descriptor)
    given.settimeout(20)
    return given


def test_a_tools_connection_ends_with_its_worker_whoever_holds_it_by_then(system: System):
    with given_by_a_tool(system) as connection:
        (worker,) = [row for row in system.ps("worker") if row.get("sessionKey") == "agent:errand:main"]
        os.kill(worker["pid"], signal.SIGKILL)
        assert b"its worker ended" in frames_until_closed(connection)
    assert errand(system, "facts")["pid"] != worker["pid"]


def test_a_connection_speaks_only_for_the_process_that_made_it(system: System):
    with given_by_a_tool(system) as connection:
        body = msgpack.packb({"type": "req", "id": "stolen", "method": "health", "params": {}})
        connection.sendall(len(body).to_bytes(4, "big") + body)
        assert b"stolen" not in frames_until_closed(connection)
    (row,) = eventually(lambda: system.call("refusals.list", {"code": "OTHER_SENDER"})["refusals"])
    assert "tool of agent errand" in row["peer"]


def test_a_tool_that_floods_the_operators_door_keeps_no_operator_out(system: System):
    flood = [*PROGRAM, "flood", str(system.operator), "6"]
    errand(system, "leave", argv=flood)
    asked = ["call", "refusals.list", '{"code": "TOO_MANY_CONNECTIONS"}']
    # It is under way, and has used up what is its own.
    eventually(lambda: "connections are open for tool of agent errand" in system.cli(*asked).stdout)
    took = []
    for _ in range(4):
        begun = time.monotonic()
        ended = system.cli("health", "--json")
        took.append(time.monotonic() - begun)
        assert ended.returncode == 0, ended.stderr
    assert max(took) < 5, took
