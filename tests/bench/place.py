"""Where measurements take place: a running system with the measuring agents, and turns on it.

Owns the configuration. Retention and everything else that is not named here stays as it is by default."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.support.system import System, eventually, running

BURNERS = [f"busy{index}" for index in range(8)]
IDLERS = [f"idle{index}" for index in range(40)]
VICTIMS = [f"victim{index}" for index in range(16)]
"""One for each killing: an agent whose workers die five times in a minute would be put in quarantine."""
ROOT = str(Path(__file__).resolve().parents[2])
TURN_SECONDS = 60
BEGIN_SECONDS = 20


def _agent(function: str) -> dict[str, Any]:
    return {"runtime": {"type": "python", "entry": f"tests.bench.agents:{function}", "path": ROOT}}


CONFIG: dict[str, Any] = {
    "agents": {
        "defaults": {"subagents": {"maxChildrenPerAgent": 1000}, "idleSeconds": 600, "maxConcurrent": 64},
        "entries": {
            **{name: _agent(name) for name in ("echo", "spawner", "parent", "sink", "flood")},
            **dict.fromkeys(BURNERS, _agent("busy")),
            **dict.fromkeys(IDLERS, _agent("echo")),
            **dict.fromkeys(VICTIMS, _agent("marker")),
        },
    },
    "logging": {"level": "warn"},
}


@contextmanager
def system() -> Iterator[System]:
    """A system with the measuring agents."""
    with running(CONFIG) as started:
        yield started


def up(system: System) -> None:
    """`peergate up --json` until it says ready; `system` is running then. Raises AssertionError with its log."""
    environment = {
        **system.environment,
        "PEERGATE_RUNTIME_DIR": str(system.runtime),
        "PEERGATE_STATE_DIR": str(system.state),
        "PEERGATE_CONFIG": str(system.config),
    }
    command = [str(Path(sys.executable).with_name("peergate")), "up", "--json"]
    with system.errors.open("ab") as log:
        system.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log)
    assert system.process.stdout is not None
    with system.process.stdout as told:
        line = told.readline()
    if not json.loads(line or b"{}").get("ready"):
        raise AssertionError(f"not ready:\n{system.log()}")


def turn(system: System, agent: str, message: str = "x") -> str:
    """One whole turn; its reply. Raises AssertionError when it does not end well."""
    run_id = str(uuid.uuid4())
    with system.wire(timeout=TURN_SECONDS + 30) as wire:
        wire.call("agent", {"agentId": agent, "message": message, "idempotencyKey": run_id})
        result = wire.call("agent.wait", {"runId": run_id, "timeoutMs": TURN_SECONDS * 1000})
    if result["status"] != "ok":
        raise AssertionError(f"{agent}: {result}")
    return str(result.get("reply", ""))


@contextmanager
def at_work(system: System, agents: Sequence[str], message: str = "x") -> Iterator[list[str]]:
    """These agents in a turn each, aborted in the end; their runs' ids. Raises AssertionError when one was over before,
    because then something else was measured; a caller that ends them itself says so by clearing the list."""
    run_ids = [str(uuid.uuid4()) for _ in agents]
    with system.wire() as wire:
        for agent, run_id in zip(agents, run_ids, strict=True):
            wire.send("agent", {"agentId": agent, "message": message, "idempotencyKey": run_id})
        for run_id in run_ids:
            eventually(lambda run_id=run_id: _is_running(system, run_id), BEGIN_SECONDS)
        yield run_ids
    for run_id in run_ids:
        if not system.call("chat.abort", {"runId": run_id, "reason": "measured"})["aborted"]:
            raise AssertionError(f"a turn of {', '.join(agents)} was over too soon")


def _is_running(system: System, run_id: str) -> bool:
    # Not `agent.wait`: that refuses a run whose acceptance is still on its way, a list just does not have it yet.
    rows = system.call("runs.list", {"state": "running", "limit": 1000})["runs"]
    return any(row["runId"] == run_id for row in rows)


@contextmanager
def database(system: System) -> Iterator[sqlite3.Connection]:
    """The system's database, to read beside the gateway: asking costs that nothing."""
    with closing(sqlite3.connect(f"file:{system.state}/peergate.db?mode=ro", uri=True)) as connection:
        yield connection
