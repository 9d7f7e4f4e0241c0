"""What the supervisor's command line says.

Owns: its typed form. Imports the standard library only: it is read before anything slow is loaded."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field

WORKER_TARGET = "agentproc.main:run"
GATEWAY_TARGET = "gateway.main:run"


@dataclass(frozen=True, slots=True)
class Targets:
    """What the zygote imports and a child calls, as `module:function`."""

    worker: str = WORKER_TARGET
    gateway: str = GATEWAY_TARGET


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said. Directories are absolute; `config` None means the default places."""

    runtime_dir: str
    state_dir: str
    config: str | None = None
    overrides: tuple[str, ...] = ()
    ready_fd: int | None = None
    wait: bool = False
    crash_points: int | None = None
    targets: Targets = field(default_factory=Targets)


def parse_options(arguments: list[str]) -> Options:
    """Options from the command line. Raises SystemExit(2)."""
    parser = argparse.ArgumentParser(prog="python -I -m supervisor", allow_abbrev=False)
    parser.add_argument("--runtime-dir", required=True)
    parser.add_argument("--state-dir", required=True)
    parser.add_argument("--config")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--ready-fd", type=int, help="a descriptor that gets the line `ready`")
    parser.add_argument("--wait", action="store_true", help="wait for the lock of the state directory")
    parser.add_argument("--worker", default=WORKER_TARGET, help="what a worker runs, module:function")
    parser.add_argument("--gateway", default=GATEWAY_TARGET, help="what the gateway runs, module:function")
    parser.add_argument("--crash-points", type=int, help=argparse.SUPPRESS)
    found = parser.parse_args(arguments)
    return Options(
        runtime_dir=os.path.abspath(found.runtime_dir),
        state_dir=os.path.abspath(found.state_dir),
        config=os.path.abspath(found.config) if found.config else None,
        overrides=tuple(found.overrides),
        ready_fd=found.ready_fd,
        wait=found.wait,
        crash_points=found.crash_points,
        targets=Targets(found.worker, found.gateway),
    )
