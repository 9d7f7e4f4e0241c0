"""What a child is given at birth, as plain values: its environment and its resource limits. Pure.

Owns: the list of variables that travel from us to what we start. Everything else is left behind."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping
from typing import Any

from supervisor import marks
from supervisor.messages import Assign

_KEPT_VARIABLES = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "HOME", marks.STATE_VARIABLE})
ADDRESS_HEADROOM = 2**30
"""Address space is more than memory: code, a stack and an arena per thread. This limit stops one mad allocation at
once; what is really used is the supervisor's sampler's (or the cgroup's) to judge."""


def allowed_environment(source: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment our processes may keep: a list, so that no secret of the supervisor's travels by
    omission."""
    return {name: value for name, value in source.items() if name in _KEPT_VARIABLES or name.startswith("LC_")}


def worker_environment(assignment: Assign, current: Mapping[str, Any]) -> dict[str, str]:
    """What a worker and its tools find in their environment: the allowed part of ours, what is configured, and who they
    are, which no configured variable can change; `peergate` is on their PATH. HOME of a uid of its own is its
    working directory, as it has no account."""
    environment = allowed_environment(current)
    if assignment.uid is not None:
        environment["HOME"] = assignment.cwd or "/"
    environment.update(assignment.env)
    environment["PATH"] = path_with_us(environment.get("PATH"))
    environment["PEERGATE_SOCKET"] = assignment.socket
    environment["PEERGATE_RUNTIME_DIR"] = os.path.dirname(assignment.socket)
    environment["PEERGATE_AGENT"] = assignment.agent
    environment["PEERGATE_SESSION"] = assignment.session
    if mark := current.get(marks.STATE_VARIABLE):
        environment[marks.STATE_VARIABLE] = mark
    return environment


def path_with_us(path: str | None) -> str:
    """A PATH that finds `peergate` beside our interpreter. Last, so that nothing of ours comes before what the agent's
    own PATH names."""
    ours, path = os.path.dirname(sys.executable), path or os.defpath
    return path if ours in path.split(os.pathsep) else f"{path}{os.pathsep}{ours}"


def rlimits(limits: Mapping[str, int], *, own_uid: bool) -> dict[int, tuple[int, int]]:
    """The configured limits as resource limits, soft and hard. Absent or 0 means none of ours; core dumps are always
    off.

    The soft CPU limit comes first, so that the death has a name (SIGXCPU). RLIMIT_NPROC counts a whole uid, so it is
    only for a worker that has one to itself; elsewhere the supervisor counts the tree."""
    wanted = {resource.RLIMIT_CORE: (0, 0)}
    if memory := limits.get("memoryBytes"):
        wanted[resource.RLIMIT_AS] = (memory + ADDRESS_HEADROOM,) * 2
    if files := limits.get("openFiles"):
        wanted[resource.RLIMIT_NOFILE] = (files, files)
    if seconds := limits.get("cpuSeconds"):
        wanted[resource.RLIMIT_CPU] = (seconds, seconds + 2)
    if own_uid and (pids := limits.get("pids")):
        wanted[resource.RLIMIT_NPROC] = (pids, pids)
    return wanted
