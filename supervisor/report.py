"""What the running system says of itself: the content of status.json, and which processes are its own.

Owns: the shape of both. Reads, changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from supervisor import kernel
from supervisor.keeper import Keeper
from supervisor.processes import Subject

if TYPE_CHECKING:
    from supervisor.system import System


def subjects_of(system: System) -> list[Subject]:
    """Our processes, for the process table. A worker nobody is yet (a warm spare) has no agent; in an upgrade there are
    two gateways."""
    found = [Subject("supervisor", os.getpid())]
    for kind, keeper in _units(system):
        if keeper.birth is not None:
            found.append(Subject(kind, keeper.birth.pid))
    for worker in system.agents.workers.values():
        entry = worker.entry
        found.append(Subject("worker", entry.pid, entry.agent, entry.session, worker.beat.pss or None))
    told = {subject.pid for subject in found}
    return found + [Subject("worker", pid, command="spare") for pid in sorted(system.ground.table.known_pids() - told)]


def snapshot_of(system: System) -> dict[str, Any]:
    """The content of status.json. Times in seconds since 1970; `start` in clock ticks since boot, which with the pid
    names a process."""
    gateway, options = system.control.gateway, system.ground.options
    held, workers = system.agents.quarantine.held, system.agents.live_rows()
    ready = gateway is not None and gateway.ready
    return {
        "pid": os.getpid(),
        "start": kernel.start_of(os.getpid()),
        "since": system.since,
        "updated": time.time(),
        "state": "stopping" if system.stopping else "ready" if ready else "starting",
        "generation": system.control.generation,
        "epoch": gateway.epoch if gateway is not None else None,
        "configuration": system.resolved.source,
        "stateDir": options.state_dir,
        "runtimeDir": options.runtime_dir,
        "logFile": system.ground.log.path,
        "doors": {name: os.path.join(options.runtime_dir, path) for name, path in system.door_paths().items()},
        "zygote": _unit(system.line.zygote),
        "gateway": _unit(system.line.gateway),
        "agents": {
            agent: {
                "quarantined": agent in held,
                "reason": held.get(agent),
                "workers": sum(row["agent"] == agent for row in workers),
            }
            for agent in system.resolved.settings.agents
        },
        "workers": workers,
    }


def _units(system: System) -> Iterator[tuple[str, Keeper]]:
    for line in system.lines:
        yield "zygote", line.zygote
        yield "gateway", line.gateway


def _unit(keeper: Keeper) -> dict[str, Any]:
    return {
        "state": keeper.unit.phase.value,
        "pid": keeper.birth.pid if keeper.birth is not None else None,
        "starts": keeper.unit.starts,
    }
