"""Every limit on a real system, written for one agent and for all of them: whatever runs into it, the message names the
key of that place in full."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from supervisor.cgroups import DEFAULT_ROOT, own_group
from tests.support.system import Answer, System, running

AGENTS = """
import subprocess
import trio

async def hoards(ctx):
    held = bytearray(96 * 1024 * 1024)
    await trio.sleep(60)

async def asks_for_too_much(ctx):
    return str(len(bytearray(8 * 1024 ** 3)))

async def starts_many(ctx):
    held = [subprocess.Popen(["sleep", "60"]) for _ in range(12)]
    await trio.sleep(60)

async def opens_many(ctx):
    held = [open("/dev/null") for _ in range(200)]

async def computes(ctx):
    while True:
        pass

async def sleeps(ctx):
    await trio.sleep(60)

async def prints(ctx):
    for _ in range(100):
        print("x" * 1000, flush=True)
    await trio.sleep(60)

async def replies_at_length(ctx):
    return "y" * 30_000

async def replies(ctx):
    return "y" * 2000
"""
LIMITS = {
    "memoryBytes": 64 * 1024 * 1024,
    "pids": 6,
    "openFiles": 100,
    "cpuSeconds": 1,
    "cpuPercent": 150,
    "wallSeconds": 5,
    "outputBytes": 20_000,
    "transcriptBytes": 1000,
}
LINE = "import sys; sys.stdout.write('[' * 30_000); sys.stdout.flush(); sys.stdin.read()"
PROGRAMS: dict[str, dict[str, Any]] = {
    "yes": {"argv": ["yes"]},
    "spin": {"argv": ["sh", "-c", "while :; do :; done"]},
    "line": {"argv": [sys.executable, "-c", LINE], "protocol": "jsonl"},
    "late": {"argv": ["sleep", "60"], "timeoutSeconds": 1},
}


class Row(NamedTuple):
    """What breaks a limit: an agent's function or program, the limit, how the run ends, and its message."""

    agent: str
    limit: str
    state: str
    says: str


TABLE = [
    Row("hoards", "memoryBytes", "failed", r"\(KEY: \d+ bytes of memory, 67108864 allowed\)"),
    Row("asks_for_too_much", "memoryBytes", "failed", r"^MemoryError \(KEY\)"),
    Row("starts_many", "pids", "failed", r"\(KEY: \d+ processes, 6 allowed\)|\(KEY: 6 are allowed\)"),
    Row("opens_many", "openFiles", "failed", r"Too many open files.* \(KEY: 100 are allowed\)"),
    Row("computes", "cpuSeconds", "failed", r"used up its processor time \(KEY: 1 s allowed\)"),
    Row("spin", "cpuSeconds", "failed", r"^sh was ended by SIGXCPU \(KEY\)"),
    Row("sleeps", "wallSeconds", "timed_out", r"longer than 5 s \(KEY\)"),
    Row("prints", "outputBytes", "failed", r"\(KEY: \d+ bytes of output, 20000 allowed\)"),
    Row("replies_at_length", "outputBytes", "failed", r"a reply of 30000 bytes, 20000 are allowed \(KEY\)"),
    Row("yes", "outputBytes", "failed", r"^yes wrote more than 20000 bytes \(KEY\)"),
    Row("line", "outputBytes", "failed", r"a line of more than 20000 bytes \(KEY\)"),
]


def config(place: str, folder: Path) -> dict[str, Any]:
    """Each agent has the limit it breaks; or all have all, but for the time of those that take some."""
    entries: dict[str, Any] = {}
    for row in [*TABLE, Row("replies", "transcriptBytes", "", ""), Row("late", "", "", "")]:
        python = {"type": "python", "entry": f"their_agents:{row.agent}", "path": str(folder)}
        command = {"type": "command", **PROGRAMS[row.agent]} if row.agent in PROGRAMS else None
        own = {row.limit: LIMITS[row.limit]} if row.limit else {}
        if place == "defaults":
            own = {} if row.limit == "wallSeconds" else {"wallSeconds": 100}
        entries[row.agent] = {"runtime": command or python, "limits": own}
    if place == "defaults":
        return {"agents": {"defaults": {"limits": LIMITS}, "entries": entries}}
    entries["late"]["limits"]["cpuPercent"] = LIMITS["cpuPercent"]
    return {"agents": {"entries": entries}}


@pytest.fixture(scope="module", params=["entries", "defaults"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def system(place: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("agents")
    (folder / "their_agents.py").write_text(AGENTS)
    with running(config(place, folder)) as started:
        yield started


@pytest.fixture(scope="module")
def ended(system: System) -> dict[str, dict[str, Any]]:
    """How the run of each agent ended; all at once, because it takes seconds."""
    runs = {agent: send(system, agent) for agent in [*(row.agent for row in TABLE), "replies", "late"]}
    with system.wire(timeout=60) as wire:
        return {agent: wire.call("agent.wait", {"runId": run, "timeoutMs": 50_000}) for agent, run in runs.items()}


def send(system: System, agent: str) -> str:
    run_id = str(uuid.uuid4())
    system.call("agent", {"message": "go", "agentId": agent, "idempotencyKey": run_id})
    return run_id


def key(place: str, agent: str, limit: str) -> str:
    return f"agents.{'defaults' if place == 'defaults' else f'entries.{agent}'}.limits.{limit}"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.agent)
def test_a_message_names_the_key_of_the_place_where_the_limit_is_written(
    place: str, ended: dict[str, dict[str, Any]], row: Row
):
    told = ended[row.agent]
    assert told["state"] == row.state, told
    assert re.search(row.says.replace("KEY", re.escape(key(place, row.agent, row.limit))), told["error"]), told["error"]


def test_a_full_transcript_does(place: str, system: System, ended: dict[str, dict[str, Any]]):
    assert ended["replies"]["state"] == "done"
    with pytest.raises(Answer, match=re.escape(key(place, "replies", "transcriptBytes"))):
        send(system, "replies")


def test_a_programs_own_time_does(ended: dict[str, dict[str, Any]]):
    told = ended["late"]
    assert told["state"] == "timed_out"
    assert told["error"] == "sleep did not finish within 1 s (agents.entries.late.runtime.timeoutSeconds)"


def test_a_share_of_the_processor_that_is_not_held_does(place: str, system: System):
    said = f"{key(place, 'late', 'cpuPercent')} is not held" in system.errors.read_text()
    share = Path(f"{DEFAULT_ROOT}{own_group(system.gateway_pid())}/cpu.max")
    assert said or share.exists()
