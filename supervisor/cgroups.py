"""A control group per worker, where the system manager delegated us a subtree of cgroup v2. An upgrade, never a need.

Owns: directories named `worker-*` and `supervisor` below our own group. With it a worker's tree is killed by one write,
and limits bind the whole tree; without it (`open_cgroups` gives None) `trees` does the killing and a sampler the
limits. See cgroups(7)."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_ROOT = "/sys/fs/cgroup"
_CONTROLLERS = ("memory", "pids", "cpu")
WORKER_CPU_WEIGHT = 20
"""Against 100 of everything else: the supervisor and the gateway come first."""
CPU_PERIOD = 100_000
"""Microseconds over which a share of the processor is reckoned; the kernel's own default."""


def own_group(pid: int | None = None) -> str | None:
    """A process's cgroup v2 path, from /proc/PID/cgroup; None on a pure v1 system or when the process is gone."""
    try:
        with open(f"/proc/{pid or 'self'}/cgroup") as file:
            return next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), None)
    except (FileNotFoundError, ProcessLookupError):
        return None


def _write(path: str, value: str) -> None:
    with open(path, "w") as file:
        file.write(value)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One worker's group. Created empty; the caller joins the process before it starts anything."""

    path: str

    def join(self, pid: int) -> None:
        """Move a process here. Raises OSError."""
        _write(f"{self.path}/cgroup.procs", str(pid))

    def members(self) -> list[int]:
        """The processes directly in it; empty when the group is gone."""
        try:
            return [int(pid) for pid in _read(f"{self.path}/cgroup.procs").split()]
        except OSError:
            return []

    def populated(self) -> bool:
        """Whether a live process is in it or below it."""
        try:
            return "populated 1" in _read(f"{self.path}/cgroup.events")
        except OSError:
            return False

    def kill(self) -> bool:
        """SIGKILL to everything in it, also what is being forked right now (cgroup.kill, Linux 5.14). False on an older
        kernel."""
        try:
            _write(f"{self.path}/cgroup.kill", "1")
        except FileNotFoundError:
            return not os.path.exists(self.path)
        except OSError as error:
            return error.errno == errno.ENODEV  # the group is being removed
        return True

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed something in it because it was over its memory.max."""
        try:
            events = dict(line.split() for line in _read(f"{self.path}/memory.events").splitlines())
        except OSError:
            return False
        return events.get("oom_kill", "0") != "0"

    def remove(self) -> bool:
        """Remove the group and what was nested in it. False while something is left in it."""
        for directory, _, _ in os.walk(self.path, topdown=False):
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


class Cgroups:
    """The delegated subtree. `controllers` are those whose limits work there."""

    def __init__(self, path: str, controllers: frozenset[str]) -> None:
        self.path = path
        self.controllers = controllers

    def create(self, spawn: str, limits: Mapping[str, int]) -> Cgroup:
        """A group for one worker with its limits, as far as controllers were delegated. Raises OSError."""
        group = Cgroup(f"{self.path}/worker-{spawn}")
        os.mkdir(group.path)
        memory, percent = limits.get("memoryBytes"), limits.get("cpuPercent")
        settings = {
            "pids.max": limits.get("pids"),
            "memory.max": memory,
            "memory.oom.group": 1 if memory else None,  # a worker without its tools is of no use, nor they without it
            "cpu.weight": WORKER_CPU_WEIGHT,
            "cpu.max": f"{percent * CPU_PERIOD // 100} {CPU_PERIOD}" if percent else None,
        }
        for name, value in settings.items():
            if value and name.partition(".")[0] in self.controllers:
                _write(f"{group.path}/{name}", str(value))
        return group

    def holds(self, key: str) -> bool:
        """Whether the limit of this name is the kernel's business here."""
        return {"memoryBytes": "memory", "pids": "pids", "cpuPercent": "cpu"}.get(key) in self.controllers

    def leftovers(self) -> list[Cgroup]:
        """Groups of workers of an earlier supervisor in the same subtree. Call it before the first `create`."""
        names = (entry.path for entry in os.scandir(self.path) if entry.name.startswith("worker-") and entry.is_dir())
        return [Cgroup(path) for path in names]


def open_cgroups(mode: str = "auto", root: str = DEFAULT_ROOT, own: str | None = None) -> Cgroups | None:
    """Move ourselves to `<own>/supervisor` and give what can be used below our own group; None for mode "off", on a
    kernel or in a container without a delegated subtree, and as a direct inhabitant of the root group.

    `root` is where cgroup v2 is mounted, `own` our group in it (read from /proc by default)."""
    own = own_group() if own is None else own
    if mode == "off" or own is None or own.endswith("/supervisor"):
        return None
    path = root + own.rstrip("/")
    # The real root has no cgroup.events; the root of a cgroup namespace has, and may be ours.
    if not os.path.exists(f"{path}/cgroup.events") or not os.access(f"{path}/cgroup.procs", os.W_OK):
        return None
    try:
        inner = Cgroup(f"{path}/supervisor")
        with contextlib.suppress(FileExistsError):
            os.mkdir(inner.path)
        inner.join(os.getpid())
    except OSError:
        return None
    return Cgroups(path, _enable_controllers(path))


def _enable_controllers(path: str) -> frozenset[str]:
    """Hand controllers down to the workers' groups. Fails (EBUSY) while others still sit in our group itself: then no
    limits."""
    try:
        available = set(_read(f"{path}/cgroup.controllers").split()) & set(_CONTROLLERS)
    except OSError:
        return frozenset()
    for name in available:
        with contextlib.suppress(OSError):
            _write(f"{path}/cgroup.subtree_control", f"+{name}")
    return frozenset(_read(f"{path}/cgroup.subtree_control").split())


def wait_until_empty(group: Cgroup, seconds: float) -> bool:
    """Poll, blocking, until a killed group is empty; for the boot scan, before anything else runs."""
    deadline = time.monotonic() + seconds
    while group.populated():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True
