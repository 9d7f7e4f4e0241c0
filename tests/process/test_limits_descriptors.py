"""An agent that uses up the descriptors it may have hurts its own run and nothing else: the worker goes on, and what
the run started ends with it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import System, eventually, running

SLEEP = "31.2718"
AGENTS = f"""
import subprocess
import trio

async def hoarder(ctx):
    held = []
    try:
        while True:
            held.append(open("/dev/null"))
    except OSError:
        await trio.sleep(6)
    for file in held:
        file.close()
    return "still here"

async def starter(ctx):
    held = [subprocess.Popen(["sleep", "{SLEEP}"]) for _ in range(3)]
    while True:
        held.append(open("/dev/null"))
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    place = tmp_path_factory.mktemp("agents")
    (place / "greedy_agents.py").write_text(AGENTS)
    entries = {
        name: {
            "runtime": {"type": "python", "entry": f"greedy_agents:{name}", "path": str(place)},
            "limits": {"openFiles": 40},
        }
        for name in ("hoarder", "starter")
    }
    with running({"supervisor": {"heartbeatSeconds": 1}, "agents": {"entries": entries}}) as started:
        yield started


def ran(system: System, agent: str) -> dict[str, Any]:
    run_id = str(uuid.uuid4())
    system.call("agent", {"message": "go", "agentId": agent, "idempotencyKey": run_id})
    with system.wire(timeout=60) as wire:
        result: dict[str, Any] = wire.call("agent.wait", {"runId": run_id, "timeoutMs": 50_000})
    return result


def sleepers() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and SLEEP.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_a_worker_without_descriptors_still_has_a_heart(system: System):
    result = ran(system, "hoarder")
    assert (result["state"], result.get("reply")) == ("done", "still here"), result


def test_what_a_run_started_that_used_up_its_descriptors_ends_with_it(system: System):
    result = ran(system, "starter")
    assert result["state"] == "failed", result
    assert "agents.entries.starter.limits.openFiles: 40 are allowed" in result["error"]
    eventually(lambda: not sleepers(), 5)
