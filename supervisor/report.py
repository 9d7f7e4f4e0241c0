"""What the running system says of itself: the content of status.json, and which processes are its own.

Owns: the shape of both. Reads, changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any

from supervisor import kernel
from supervisor.agents import Agents
from supervisor.control import Gateway
from supervisor.keeper import Keeper
from supervisor.line import Line
from supervisor.options import Options
from supervisor.processes import Subject
from supervisor.settings import Resolved


@dataclass(frozen=True, slots=True)
class Picture:
    """What status.json is made from; `doors` are paths below the runtime directory, `addresses` what TCP
    is listened on."""

    options: Options
    resolved: Resolved
    since: float
    stopping: bool
    log_file: str | None
    doors: dict[str, str]
    addresses: list[str]
    gateway: Gateway | None
    generation: int
    line: Line
    agents: Agents


def subjects_of(lines: Iterable[Line], agents: Agents, known: Set[int]) -> list[Subject]:
    """Our processes, for the process table. A worker nobody is yet (a warm spare) has no agent."""
    found = [Subject("supervisor", os.getpid())]
    for line in lines:
        for kind, keeper in (("zygote", line.zygote), ("gateway", line.gateway)):
            if keeper.birth is not None:
                found.append(Subject(kind, keeper.birth.pid))
    for worker in agents.workers.values():
        entry = worker.entry
        found.append(Subject("worker", entry.pid, entry.agent, entry.session, worker.beat.pss or None))
    told = {subject.pid for subject in found}
    return found + [Subject("worker", pid, command="spare") for pid in sorted(known - told)]


def snapshot_of(seen: Picture) -> dict[str, Any]:
    """The content of status.json. Times in seconds since 1970; `start` in clock ticks since boot: with the pid it names
    a process."""
    gateway, options = seen.gateway, seen.options
    ready = gateway is not None and gateway.ready
    return {
        "pid": os.getpid(),
        "start": kernel.start_of(os.getpid()),
        "since": seen.since,
        "updated": time.time(),
        "state": "stopping" if seen.stopping else "ready" if ready else "starting",
        "generation": seen.generation,
        "epoch": gateway.epoch if gateway is not None else None,
        "configuration": seen.resolved.source,
        "stateDir": options.state_dir,
        "runtimeDir": options.runtime_dir,
        "logFile": seen.log_file,
        "doors": {name: os.path.join(options.runtime_dir, path) for name, path in seen.doors.items()},
        "addresses": seen.addresses,
        "zygote": _unit(seen.line.zygote),
        "gateway": {**_unit(seen.line.gateway), "waitsFor": gateway.beat.status or None if gateway else None},
        **_agents(seen),
    }


def _agents(seen: Picture) -> dict[str, Any]:
    held, workers = seen.agents.quarantine.held, seen.agents.live_rows()
    return {
        "agents": {
            agent: {
                "quarantined": agent in held,
                "reason": held.get(agent),
                "workers": sum(row["agent"] == agent for row in workers),
            }
            for agent in seen.resolved.settings.agents
        },
        "workers": workers,
    }


def _unit(keeper: Keeper) -> dict[str, Any]:
    return {
        "state": keeper.unit.phase.value,
        "pid": keeper.birth.pid if keeper.birth is not None else None,
        "starts": keeper.unit.starts,
    }
