"""Programs that speak JSON lines, in a system whose workers are killed in the middle: what they did is not done again,
what they were sent is heard once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.test_command_jsonl import program
from tests.support.system import System, eventually, running

KEEPER = """
child = ask(invoke={"tool": "sessions_spawn", "args": {"task": "count", "agentId": "scout"}, "id": 0})["result"]
receipt = once("charge", lambda: (note("charges", opening["attempt"]), opening["attempt"])[1])
note("workers", os.getppid())
if opening["attempt"] == 1: time.sleep(60)
tell(reply=json.dumps({"child": child["runId"], "receipt": receipt, "attempt": opening["attempt"]}))
"""
CARELESS = """
ask(once={"name": "charge the card", "id": 1, "effect": opening["message"].split()[0]})
note("charges", opening["attempt"])
note("workers", os.getppid())
if opening["attempt"] == 1: time.sleep(60)
ask(done={"id": 1})
tell(reply="charged")
"""
LISTENER = """
word = opening["message"].split()[0]
if word == "left":
    tell(reply="a turn of its own")
    sys.exit()
ask(steer=True)
note("open", 1)
heard = hear()["steer"]
if word != "ignore": tell(ack=heard["id"])
if word == "die":
    note("workers", os.getppid())
    if opening["attempt"] == 1: time.sleep(60)
tell(reply="heard " + heard["message"].split()[0])
"""
PARENT = """
child = ask(invoke={"tool": "sessions_spawn", "args": {"task": "say this", "agentId": "scout"}, "id": 1})["result"]
tell(steer=True)
while "steer" not in (line := hear()): pass
word = line["steer"]["provenance"]
tell(ack=line["steer"]["id"])
tell(reply=json.dumps([word["childRunId"] == child["runId"], word["status"], word["result"]]))
"""
CONFIG: dict[str, Any] = {
    "agents": {
        "defaults": {"subagents": {"allowAgents": ["*"]}},
        "entries": {
            "scout": {"runtime": {"type": "command", "argv": ["echo", "scouted"]}},
            "keeper": {"runtime": program(KEEPER, retrySafe=True)},
            "careless": {"runtime": program(CARELESS, retrySafe=True)},
            "listener": {"runtime": program(LISTENER, retrySafe=True)},
            "parent": {"runtime": program(PARENT)},
        },
    },
}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with running(CONFIG) as started:
        yield started


def begin(system: System, agent: str, message: str) -> str:
    """The id of the run a message to an agent's main session begins."""
    given = {"message": message, "idempotencyKey": f"{agent} {message}", "agentId": agent}
    with system.wire() as wire:
        accepted: dict[str, Any] = wire.answer_to(wire.send("agent", given))
    return str(accepted["runId"])


def ended(system: System, run: str) -> dict[str, Any]:
    told: dict[str, Any] = system.call("agent.wait", {"runId": run, "timeoutMs": 20_000})
    return told


def steer(system: System, agent: str, message: str) -> dict[str, Any]:
    args = {"sessionKey": f"agent:{agent}:main", "message": message, "mode": "steer", "timeoutSeconds": 0}
    with system.wire() as wire:
        return wire.tool("sessions_send", args, idempotencyKey=f"steer {agent} {message}")


def kill_worker(folder: Path) -> None:
    file = folder / "workers"
    os.kill(int(eventually(lambda: file.exists() and file.read_text().strip())), signal.SIGKILL)


def lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def users_words(system: System, folder: Path) -> list[str]:
    """The first word of each message the listener got about a folder, in the order they were given to a turn."""
    history = system.call("chat.history", {"sessionKey": "agent:listener:main"})["messages"]
    texts = [str(one["content"][0]["text"]).split() for one in history if one["role"] == "user"]
    return [words[0] for words in texts if words[-1] == str(folder)]


def test_a_turn_whose_worker_is_killed_replays_what_it_did(system: System, tmp_path: Path):
    run = begin(system, "keeper", f"go {tmp_path}")
    kill_worker(tmp_path)
    reply = json.loads(ended(system, run)["reply"])
    assert (reply["attempt"], reply["receipt"], lines(tmp_path / "charges")) == (2, 1, ["1"])
    children = system.call("runs.list", {"spawnedBy": "agent:keeper:main"})["runs"]
    assert [child["runId"] for child in children] == [reply["child"]]


def test_an_unsafe_action_nobody_knows_the_end_of_interrupts_the_run(system: System, tmp_path: Path):
    run = begin(system, "careless", f"unsafe {tmp_path}")
    kill_worker(tmp_path)
    result = ended(system, run)
    assert result["state"] == "interrupted"
    assert 'it had begun "charge the card", which may have happened' in result["error"]
    assert lines(tmp_path / "charges") == ["1"]


@pytest.mark.parametrize("effect", ["idempotent", "pure"])
def test_one_that_may_be_repeated_is(system: System, tmp_path: Path, effect: str):
    run = begin(system, "careless", f"{effect} {tmp_path}")
    kill_worker(tmp_path)
    assert ended(system, run)["reply"] == "charged"
    assert lines(tmp_path / "charges") == ["1", "2"]


def steered(system: System, tmp_path: Path, word: str) -> tuple[str, dict[str, Any]]:
    """A turn that listens and a message that comes meanwhile: the run of each, the second as it was accepted."""
    run = begin(system, "listener", f"{word} {tmp_path}")
    eventually(lambda: (tmp_path / "open").exists())
    accepted = steer(system, "listener", f"left {tmp_path}")
    assert accepted["targetDisposition"] == "steered"
    return run, accepted


def test_a_message_a_program_acknowledged_is_heard_once(system: System, tmp_path: Path):
    run, message = steered(system, tmp_path, "hear")
    assert ended(system, run)["reply"] == "heard left"
    assert ended(system, message["runId"])["stopReason"] == "steered"
    assert users_words(system, tmp_path) == ["hear", "left"]


def test_one_it_was_given_and_did_not_acknowledge_gets_a_turn_of_its_own(system: System, tmp_path: Path):
    run, message = steered(system, tmp_path, "ignore")
    assert ended(system, run)["reply"] == "heard left"
    assert ended(system, message["runId"])["reply"] == "a turn of its own"
    assert users_words(system, tmp_path) == ["ignore", "left"]


def test_one_acknowledged_in_an_attempt_that_died_is_given_to_the_next(system: System, tmp_path: Path):
    run, message = steered(system, tmp_path, "die")
    kill_worker(tmp_path)
    assert ended(system, run)["reply"] == "heard left"
    assert ended(system, message["runId"])["stopReason"] == "steered"
    assert users_words(system, tmp_path) == ["die", "left"]


def test_an_announcement_is_steered_into_a_program_that_listens(system: System, tmp_path: Path):
    run = begin(system, "parent", f"go {tmp_path}")
    assert json.loads(ended(system, run)["reply"]) == [True, "ok", "scouted"]
    runs = system.call("runs.list", {"sessionKey": "agent:parent:main"})["runs"]
    assert sorted(one.get("stopReason", "its turn") for one in runs) == ["its turn", "steered"]
