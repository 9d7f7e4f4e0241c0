"""Every limit on a real system: hitting one fails that run alone, with a message that names the limit and its key.

And what comes of runs that may not be repeated: parked, seen and decided about on the command line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.cgroups import DEFAULT_ROOT, own_group
from tests.support.system import Answer, System, eventually, running

AGENTS = """
import os, subprocess, sys
import trio

async def memory(ctx):
    hoard = bytearray(96 * 1024 * 1024)
    await ctx.say("so far")
    await trio.sleep(60)

async def pids(ctx):
    sleepers = [subprocess.Popen(["sleep", "60"]) for _ in range(12)]
    await trio.sleep(60)

async def files(ctx):
    held = [open("/dev/null") for _ in range(200)]

async def cpu(ctx):
    while True:
        pass

async def wall(ctx):
    await ctx.say("half an answer")
    await ctx.wait_time_is_short()
    await ctx.say(f", {ctx.seconds_left > 0}")
    await trio.sleep(60)

async def silent(ctx):
    await trio.sleep(60)

async def loud(ctx):
    for _ in range(100):
        print("x" * 1000, flush=True)
    await trio.sleep(60)

async def wordy(ctx):
    return "x" * 30_000

async def fine(ctx):
    return "y" * 2000

async def calm(ctx):
    return "slowly"

async def pay(ctx):
    async def charge():
        with open(ctx.message, "a") as ledger:
            ledger.write(f"{ctx.attempt}\\n")
        if ctx.attempt == 1:
            os.kill(os.getpid(), 9)
        return "receipt"
    return await ctx.once("charge card", charge)
"""
LIMITS: dict[str, dict[str, int]] = {
    "memory": {"memoryBytes": 64 * 1024 * 1024},
    "pids": {"pids": 6},
    "files": {"openFiles": 100},
    "cpu": {"cpuSeconds": 1},
    "wall": {"wallSeconds": 6},
    "silent": {},
    "loud": {"outputBytes": 20_000},
    "wordy": {"outputBytes": 20_000},
    "fine": {"transcriptBytes": 1000},
    "calm": {"cpuPercent": 150},
    "pay": {},
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    place = tmp_path_factory.mktemp("agents")
    (place / "limit_agents.py").write_text(AGENTS)
    entries = {
        name: {"runtime": {"type": "python", "entry": f"limit_agents:{name}", "path": str(place)}, "limits": limits}
        for name, limits in LIMITS.items()
    }
    with running({"agents": {"defaults": {"noProgressSeconds": 16}, "entries": entries}}) as started:
        yield started


@pytest.fixture(scope="module")
def ended(system: System) -> dict[str, dict[str, Any]]:
    """How a run of each agent that breaks a limit ended; all at once, because it takes seconds."""
    broken = [name for name in LIMITS if name not in ("fine", "calm", "pay")]
    started = {name: send(system, name, "go") for name in broken}
    return {name: wait(system, run_id) for name, run_id in started.items()}


def send(system: System, agent: str, text: str) -> str:
    run_id = str(uuid.uuid4())
    system.call("agent", {"message": text, "agentId": agent, "idempotencyKey": run_id})
    return run_id


def wait(system: System, run_id: str) -> dict[str, Any]:
    with system.wire(timeout=60) as wire:
        result: dict[str, Any] = wire.call("agent.wait", {"runId": run_id, "timeoutMs": 50_000})
    return result


@pytest.mark.parametrize(
    ("agent", "state", "words"),
    [
        ("memory", "failed", ["agents.entries.memory.limits.memoryBytes: ", "67108864 allowed"]),
        ("pids", "failed", ["agents.entries.pids.limits.pids: ", "6 allowed"]),
        ("files", "failed", ["Too many open files", "agents.entries.files.limits.openFiles: 100 are allowed"]),
        ("cpu", "failed", ["processor time", "agents.entries.cpu.limits.cpuSeconds: 1 s allowed"]),
        ("wall", "timed_out", ["longer than 6 s", "agents.entries.wall.limits.wallSeconds"]),
        ("silent", "timed_out", ["no sign of progress for 16 s", "agents.defaults.noProgressSeconds"]),
        ("loud", "failed", ["agents.entries.loud.limits.outputBytes: ", "20000 allowed"]),
        ("wordy", "failed", ["a reply of 30000 bytes, 20000 are allowed", "agents.entries.wordy.limits.outputBytes"]),
    ],
)
def test_a_run_over_its_limit_says_which(
    system: System, ended: dict[str, dict[str, Any]], agent: str, state: str, words: list[str]
):
    told = ended[agent]
    assert told["state"] == state, told
    assert [word for word in words if word not in told["error"]] == []
    (run,) = system.call("runs.list", {"sessionKey": f"agent:{agent}:main"})["runs"]
    assert run["attempt"] == 1  # never tried again: it would use as much


def test_what_was_said_before_the_end_is_kept_and_the_end_was_foretold(ended: dict[str, dict[str, Any]]):
    assert ended["memory"]["reply"] == "so far"
    assert ended["wall"]["reply"] == "half an answer, True"


def test_the_others_go_on_and_nothing_of_the_broken_ones_is_left(system: System, ended: dict[str, dict[str, Any]]):
    assert wait(system, send(system, "fine", "still there?"))["state"] == "done"
    gone = {"memory", "pids", "cpu", "loud"}
    eventually(lambda: not [row for row in system.ps() if row.get("agentId") in gone])


def test_a_share_of_the_processor_is_held_by_the_kernel_or_said_not_to_be(system: System):
    """Here no cpu controller is delegated; where one is, the other half of this is what is tested."""
    wait(system, send(system, "calm", "where are you?"))
    (worker,) = [row for row in system.ps("worker") if row.get("agentId") == "calm"]
    share = Path(f"{DEFAULT_ROOT}{own_group(worker['pid'])}/cpu.max")
    held = share.exists() and share.read_text().split() == ["150000", "100000"]
    assert held != ("agents.entries.calm.limits.cpuPercent is not held: no cpu controller" in system.errors.read_text())


def test_a_full_transcript_refuses_until_it_is_begun_anew(system: System, ended: dict[str, dict[str, Any]]):
    with pytest.raises(Answer, match=r"agents.entries.fine.limits.transcriptBytes allows 1000"):
        send(system, "fine", "more?")
    told = system.cli("call", "sessions.reset", '{"key": "agent:fine:main"}')
    assert told.returncode == 0, told.stderr
    assert wait(system, send(system, "fine", "more?"))["state"] == "done"


def test_an_unsafe_action_cut_short_is_parked_and_an_operator_decides(system: System, tmp_path: Path):
    ledger = tmp_path / "ledger"
    run_id = send(system, "pay", str(ledger))
    told = wait(system, run_id)
    assert told["state"] == "interrupted"
    assert 'it had begun "charge card", which may have happened' in told["error"]
    assert ledger.read_text() == "1\n"
    listed = json.loads(system.cli("mailbox", "list", "--parked", "--json").stdout)
    assert [(row["runId"], row["attempts"]) for row in listed["messages"]] == [(run_id, 1)]
    shown = system.cli("mailbox", "show", run_id)
    assert "charge card (unsafe): begun, nobody knows whether it happened" in shown.stdout
    retried = system.cli("mailbox", "retry", str(listed["messages"][0]["id"]))
    assert retried.returncode == 0, retried.stderr
    again = wait(system, run_id)
    assert (again["state"], again["reply"]) == ("done", "receipt")
    assert ledger.read_text() == "1\n2\n"
    assert json.loads(system.cli("mailbox", "--json").stdout)["parked"] == 0
