"""What a program had printed when its turn was cut short, however that came, is kept and told; and it is seen live."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.system import System, Wire, eventually, running


def program(script: str, **more: Any) -> dict[str, Any]:
    return {"runtime": {"type": "command", "argv": ["sh", "-c", script], **more.pop("runtime", {})}, **more}


HALF = r"printf '\n\nhalf an answ\303\251r\n'; exec sleep 60"
KEPT = "half an answér"
HUNGRY = "import time\nprint('half an answér', flush=True)\ntime.sleep(1)\nheld = bytearray(200 << 20)\ntime.sleep(60)"
WAIT = 'while ! [ -e "$(dirname "$PEERGATE_SOCKET")/%s" ]; do sleep 0.05; done'
ENTRIES = {
    "wall": program(HALF, limits={"wallSeconds": 3}),
    "own": program(HALF, runtime={"timeoutSeconds": 2}),
    "silent": program(HALF, limits={}),
    "aborted": program(HALF),
    "killed": program(HALF),
    "hungry": {
        "runtime": {"type": "command", "argv": [sys.executable, "-c", HUNGRY]},
        "limits": {"memoryBytes": 100 * 1024 * 1024},
    },
    "fails": program(r"printf '\n\nhalf an answ\303\251r\n'; echo why >&2; exit 3"),
    "floods": program("exec yes", limits={"outputBytes": 50_001}),
    "talks": program(rf"printf 'one\n'; {WAIT % 'a'}; printf 'two\303'; {WAIT % 'b'}; printf '\251\n\n'"),
    "quick": program("echo one; echo two"),
    "parent": program("peergate spawn --agent wall 'do it' >/dev/null; cat"),
}
ENTRIES["parent"]["subagents"] = {"allowAgents": ["wall"]}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with running({"agents": {"defaults": {"noProgressSeconds": 8}, "entries": ENTRIES}}) as started:
        yield started


def send(wire: Wire, agent: str) -> str:
    run_id = str(uuid.uuid4())
    wire.call("agent", {"message": "go", "agentId": agent, "idempotencyKey": run_id})
    return run_id


def deltas(wire: Wire, run_id: str) -> Iterator[str]:
    """What is told of a run's words, as it comes; ends with the run."""
    while True:
        event = wire.events.pop(0) if wire.events else wire.read()
        if event["event"] == "chat" and event["payload"]["runId"] == run_id:
            if event["payload"]["state"] != "delta":
                return
            yield event["payload"]["deltaText"]


def ended(system: System, run_id: str) -> dict[str, Any]:
    with system.wire(timeout=60) as wire:
        result: dict[str, Any] = wire.call("agent.wait", {"runId": run_id, "timeoutMs": 50_000})
    return result


def transcript(system: System, agent: str) -> list[str]:
    history = system.call("chat.history", {"sessionKey": f"agent:{agent}:main"})["messages"]
    return [message["content"][0]["text"] for message in history]


@pytest.mark.parametrize(
    ("agent", "state", "error"),
    [
        ("wall", "timed_out", "longer than 3 s"),
        ("own", "timed_out", "did not finish within 2 s"),
        ("silent", "timed_out", "no sign of progress for 8 s"),
        ("hungry", "failed", "limits.memoryBytes: "),
        ("fails", "failed", "exited with code 3; its last lines:\nwhy"),
    ],
)
def test_what_it_had_printed_is_kept(system: System, agent: str, state: str, error: str):
    with system.wire() as wire:
        told = ended(system, send(wire, agent))
    assert (told["state"], told["reply"]) == (state, KEPT), told
    assert error in told["error"]
    assert transcript(system, agent) == ["go", KEPT]


@pytest.mark.parametrize(("agent", "state"), [("aborted", "aborted"), ("killed", "interrupted")])
def test_also_when_somebody_ends_it(system: System, agent: str, state: str):
    with system.wire(events=True) as wire:
        run_id = send(wire, agent)
        assert next(deltas(wire, run_id)) == KEPT
    if agent == "killed":
        (worker,) = [row for row in system.ps("worker") if row.get("agentId") == agent]
        os.kill(worker["pid"], signal.SIGKILL)
    else:
        system.call("chat.abort", {"sessionKey": f"agent:{agent}:main", "runId": run_id})
    told = ended(system, run_id)
    assert (told["state"], told["reply"]) == (state, KEPT), told
    assert transcript(system, agent) == ["go", KEPT]


def test_of_a_flood_as_much_is_kept_as_it_may_write(system: System):
    with system.wire() as wire:
        told = ended(system, send(wire, "floods"))
    assert told["state"] == "failed"
    assert told["reply"] == "y\n" * 25_000 + "y"


def test_a_parent_is_told_what_there_was(system: System):
    with system.wire() as wire:
        send(wire, "parent")

    def told() -> list[str]:
        return [text for text in transcript(system, "parent") if "ran out of time" in text]

    assert "Status: timeout\nError: the turn took longer than 3 s" in eventually(told, 30)[0]
    assert f"Result:\n{KEPT}" in told()[0]


def test_it_is_seen_live_and_said_once(system: System):
    with system.wire(events=True) as wire:
        run_id = send(wire, "talks")
        heard = deltas(wire, run_id)
        assert next(heard) == "one"
        (system.agents.parent / "a").touch()
        assert next(heard) == "\ntwo"
        (system.agents.parent / "b").touch()
        assert "".join(heard) in ("", "é")
    assert ended(system, run_id)["reply"] == "one\ntwoé"
    assert transcript(system, "talks") == ["go", "one\ntwoé"]


def test_one_that_is_done_at_once_says_nothing_but_its_reply(system: System):
    with system.wire(events=True) as wire:
        run_id = send(wire, "quick")
        assert "one\ntwo".startswith("".join(deltas(wire, run_id)))  # nothing at all, if it is not held up
    assert ended(system, run_id)["reply"] == "one\ntwo"
    assert transcript(system, "quick") == ["go", "one\ntwo"]
