"""The pure parts of the child sequence: limits, environment, targets. What it does to a process is in tests/process."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from supervisor.child import CRASHED, _tie_to, find_target
from supervisor.messages import Assign
from supervisor.outfit import allowed_environment, rlimits, worker_environment

OURS = str(Path(sys.executable).parent)
MARK = {"PEERGATE_STATE": "00ff00ff00ff00ff"}


def assign(**changes) -> Assign:
    values: dict[str, Any] = {
        "spawn": "s1", "agent": "main", "session": "agent:main:main", "socket": "/run/peergate/agents.sock",
        "ticket": "t", "runtime": {}, "env": {}, "cwd": None, "limits": {},
    }  # fmt: skip
    return Assign(**(values | changes))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, {}),
        ({"memoryBytes": 10**9}, {resource.RLIMIT_AS: (10**9 + 2**30, 10**9 + 2**30)}),
        ({"openFiles": 64}, {resource.RLIMIT_NOFILE: (64, 64)}),
        ({"cpuSeconds": 5}, {resource.RLIMIT_CPU: (5, 7)}),
        ({"pids": 9}, {resource.RLIMIT_NPROC: (9, 9)}),
        ({"pids": 0, "wallSeconds": 3, "outputBytes": 4}, {}),
    ],
)
def test_configured_limits_become_resource_limits_and_cores_are_always_off(limits, expected):
    assert rlimits(limits, own_uid=True) == {resource.RLIMIT_CORE: (0, 0)} | expected


def test_processes_are_not_limited_by_a_uid_that_is_shared():
    assert resource.RLIMIT_NPROC not in rlimits({"pids": 9}, own_uid=False)


def test_only_listed_variables_are_kept():
    source = {"PATH": "/bin", "LC_TIME": "C", "LANG": "C", "TZ": "UTC", "HOME": "/root",
              "AWS_SECRET": "x", "PYTHONPATH": "/x",
              "LD_PRELOAD": "x", "NOTIFY_SOCKET": "x", "PEERGATE_TOKEN": "x", **MARK}  # fmt: skip
    assert allowed_environment(source).keys() == {"PATH", "LC_TIME", "LANG", "TZ", "HOME", "PEERGATE_STATE"}


def test_a_worker_is_told_who_it_is_and_configuration_cannot_say_otherwise():
    configured = {"PEERGATE_SESSION": "agent:other:main", "PEERGATE_STATE": "0", "EDITOR": "ed", "PATH": "/opt/bin"}
    environment = worker_environment(assign(env=configured), {"PATH": "/bin", "HOME": "/root", **MARK})
    assert environment == {
        "PATH": f"/opt/bin:{OURS}",
        "HOME": "/root",
        "EDITOR": "ed",
        "PEERGATE_SOCKET": "/run/peergate/agents.sock",
        "PEERGATE_RUNTIME_DIR": "/run/peergate",
        "PEERGATE_AGENT": "main",
        "PEERGATE_SESSION": "agent:main:main",
        **MARK,
    }


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/bin", f"/bin:{OURS}"),
        (f"{OURS}:/bin", f"{OURS}:/bin"),
        (f"/bin:{OURS}", f"/bin:{OURS}"),
        (f"{OURS}x", f"{OURS}x:{OURS}"),
        ("", f"{os.defpath}:{OURS}"),
        (None, f"{os.defpath}:{OURS}"),
    ],
)
def test_every_agent_finds_peergate_on_its_path_and_its_own_programs_first(path: str | None, found: str):
    current = {} if path is None else {"PATH": path}
    assert worker_environment(assign(), current)["PATH"] == found


@pytest.mark.parametrize(
    ("changes", "home"),
    [
        ({}, "/root"),
        ({"uid": 60001, "cwd": "/srv/agent"}, "/srv/agent"),
        ({"uid": 60001}, "/"),
        ({"uid": 60001, "env": {"HOME": "/home/agent"}}, "/home/agent"),
    ],
)
def test_home_is_never_another_users(changes, home):
    assert worker_environment(assign(**changes), {"HOME": "/root"})["HOME"] == home


def test_targets_are_named_by_module_and_function():
    assert find_target("json:dumps")({}) == "{}"
    with pytest.raises(ValueError, match="module:function"):
        find_target("json.dumps")
    with pytest.raises(AttributeError):
        find_target("json:nothing")
    with pytest.raises(ImportError):
        find_target("no.such.module:run")


@pytest.mark.parametrize("parent", [None, 1])
def test_a_child_adopted_by_somebody_else_leaves_at_once(parent):
    """Its supervisor and the process that forked it died before it looked for the first time: nobody would end it."""
    began = time.monotonic()
    if (pid := os.fork()) == 0:
        _tie_to(2**22, parent)  # neither of them is our parent
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == CRASHED
    assert time.monotonic() - began < 5
