"""Which limit a tree is over, and what is measured."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from supervisor.limits import Usage, anonymous_memory, measure, over_limit
from supervisor.processes import Subject, rows
from supervisor.settings import AgentSettings
from tests.support.system import eventually


@pytest.mark.parametrize(
    ("limits", "usage", "named"),
    [
        ({}, Usage(10**12, 10**6, 10**12), None),
        ({"memoryBytes": 100}, Usage(memory=100), None),
        ({"memoryBytes": 100}, Usage(memory=101), "{}.memoryBytes: 101 bytes of memory, 100 allowed"),
        ({"pids": 2}, Usage(processes=2), None),
        ({"pids": 2}, Usage(processes=3), "{}.pids: 3 processes, 2 allowed"),
        ({"outputBytes": 5}, Usage(output=6), "{}.outputBytes: 6 bytes of output, 5 allowed"),
        ({"openFiles": 1, "cpuSeconds": 1}, Usage(9, 9, 9), None),  # the kernel's business
        ({"memoryBytes": 1, "pids": 1}, Usage(2, 2), "{}.memoryBytes: 2 bytes of memory, 1 allowed"),
    ],
)
def test_the_first_limit_exceeded_is_named(limits, usage, named):
    place = "agents.entries.main.limits"
    settings = AgentSettings({}, limits=limits, limit_keys={name: f"{place}.{name}" for name in limits})
    assert over_limit(settings, usage) == (named and named.format(place))


def test_a_tree_is_measured_and_listed_as_one():
    program = "import subprocess, time; subprocess.Popen(['sleep', '60']); held = b'x' * (30 << 20); print(flush=True)"
    process = subprocess.Popen([sys.executable, "-c", f"{program}; time.sleep(60)"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        usage = eventually(lambda: found if (found := measure(process.pid, 5)).processes == 2 else None)
        assert usage.memory > 30 << 20
        assert usage.output == 5
        listed = rows([Subject("supervisor", os.getpid()), Subject("worker", process.pid, "main", "agent:main:main")])
        assert [row["kind"] for row in listed] == ["supervisor", "worker", "tool"]
        assert listed[2]["ppid"] == process.pid
        assert listed[2]["agentId"] == "main"
        assert listed[1]["rssBytes"] > 30 << 20
    finally:
        for row in rows([Subject("worker", process.pid)]):
            os.kill(row["pid"], 9)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_who_is_gone_uses_nothing_and_is_not_listed():
    process = subprocess.Popen(["true"])
    process.wait()
    assert anonymous_memory(process.pid) == 0
    assert rows([Subject("worker", process.pid)]) == []
