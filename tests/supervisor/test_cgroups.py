"""Control groups on the real hierarchy, where this machine lets us make any; what is no delegation gives None."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from supervisor.cgroups import DEFAULT_ROOT, Cgroup, Cgroups, open_cgroups, own_group, wait_until_empty


def unified() -> Path | None:
    """Where cgroup v2 is mounted, writable."""
    for root in (Path(DEFAULT_ROOT), Path(DEFAULT_ROOT) / "unified"):
        if (root / "cgroup.procs").exists() and (root / "cgroup.controllers").exists() and os.access(root, os.W_OK):
            return root
    return None


@pytest.fixture
def delegated():
    """A group of our own below the root of the hierarchy, as a system manager would delegate it."""
    root = unified()
    if root is None:
        pytest.skip("needs a delegated cgroup: no writable cgroup v2 here")
    group = root / f"peergate-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"needs a delegated cgroup: {error}")
    yield root, group
    for directory in [*filter(Path.is_dir, group.iterdir()), group]:
        directory.rmdir()


def in_group(group: Path, code: str) -> Any:
    """Run code in a process that stands in the group."""
    start = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\n"
    command = [sys.executable, "-I", "-c", "import json\nfrom supervisor.cgroups import *\n" + start + code]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_delegated_group_is_used_and_left_by_ourselves(delegated):
    root, group = delegated
    code = f"c = open_cgroups(root={str(root)!r}); print(json.dumps([c and c.path, own_group()]))"
    assert in_group(group, code) == [str(group), f"/{group.name}/supervisor"]


def test_mode_off_and_the_root_group_are_no_delegation(delegated, tmp_path):
    root, group = delegated
    assert open_cgroups("off", root=str(root), own=f"/{group.name}") is None
    assert open_cgroups(root=str(root), own="/") is None
    assert open_cgroups(root=str(tmp_path), own="/nothing") is None
    assert own_group() is not None, "none of it moved us"


def test_a_workers_group_takes_all_it_started_along(delegated):
    _, group = delegated
    cgroup = Cgroups(str(group), frozenset()).create("s1", {"pids": 5})
    script = "setsid sleep 300 & sleep 300 & (setsid sh -c 'sleep 300' &) ; echo up; sleep 300"
    process = subprocess.Popen(["sh", "-c", f"read go; {script}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    cgroup.join(process.pid)
    process.stdin.write(b"go\n")
    process.stdin.close()
    assert process.stdout.readline() == b"up\n"
    deadline = time.monotonic() + 5
    while len(cgroup.members()) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert cgroup.populated()
    assert not cgroup.remove()
    assert cgroup.kill()
    process.wait()
    process.stdout.close()
    assert wait_until_empty(cgroup, 5)
    assert cgroup.remove()
    assert (cgroup.members(), cgroup.populated(), cgroup.kill(), cgroup.remove()) == ([], False, True, True)


def test_groups_of_an_earlier_life_are_found_with_what_they_nested(delegated):
    _, group = delegated
    cgroups = Cgroups(str(group), frozenset())
    left = cgroups.create("old", {})
    (Path(left.path) / "nested").mkdir()
    (group / "supervisor").mkdir()
    assert cgroups.leftovers() == [left]
    assert left.remove()
    assert cgroups.leftovers() == []


def test_limits_are_written_for_delegated_controllers_only(tmp_path):
    """On a plain directory: which files are written, and what into them."""
    limits = {"memoryBytes": 1000, "pids": 7, "cpuPercent": 150}
    cgroups = Cgroups(str(tmp_path), frozenset({"memory", "cpu"}))
    assert [cgroups.holds(key) for key in (*limits, "openFiles")] == [True, False, True, False]
    assert written_for(cgroups, "s1", limits) == {
        "memory.max": "1000", "memory.oom.group": "1", "cpu.weight": "20", "cpu.max": "150000 100000",
    }  # fmt: skip
    assert written_for(cgroups, "s2", {"pids": 7}) == {"cpu.weight": "20"}
    assert written_for(Cgroups(str(tmp_path), frozenset({"pids"})), "s3", limits) == {"pids.max": "7"}


def written_for(cgroups: Cgroups, spawn: str, limits: dict[str, int]) -> dict[str, str]:
    group = cgroups.create(spawn, limits)
    return {path.name: path.read_text() for path in Path(group.path).iterdir()}


@pytest.mark.parametrize(
    ("events", "ran_out"),
    [("low 0\nhigh 0\nmax 9\noom 0\noom_kill 0\n", False), ("max 9\noom 1\noom_kill 1\n", True), (None, False)],
)
def test_what_the_kernel_killed_for_memory_is_told_by_its_own_count(tmp_path, events: str | None, ran_out: bool):
    """The format of memory.events (cgroups(7)); no memory controller is delegated where this is developed."""
    if events is not None:
        (tmp_path / "memory.events").write_text(events)
    assert Cgroup(str(tmp_path)).ran_out_of_memory() is ran_out
