"""The supervisor takes as many descriptors as it can get. When it has none left, it goes on whatever happens, and all
is well when it has some again."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable

import pytest

from tests.support.system import alive, eventually
from tests.support.tiny_system import Tiny, agents, tiny

NONE_LEFT = 4
"""A limit that is below what it has open anyway."""


def orphan(system: Tiny, worker: int) -> None:
    system.signal(signal.SIGCHLD)
    system.signal(signal.SIGQUIT)
    system.wait_for_record("tasks:")


def reload(system: Tiny, worker: int) -> None:
    system.signal(signal.SIGHUP)
    system.wait_for_record("was not reloaded")


def upgrade(system: Tiny, worker: int) -> None:
    system.signal(signal.SIGUSR2)
    system.wait_for_record("the upgrade failed")


def death_of_a_worker(system: Tiny, worker: int) -> None:
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not alive(worker))
    orphan(system, worker)  # by then it has looked for what the worker left


def death_of_the_gateway(system: Tiny, worker: int) -> None:
    os.kill(system.pid_of("gateway"), signal.SIGKILL)
    system.wait_for_record("the gateway could not be started")


def death_of_the_zygote(system: Tiny, worker: int) -> None:
    os.kill(system.pid_of("zygote"), signal.SIGKILL)
    system.wait_for_record("the zygote could not be started")


def question(system: Tiny, worker: int) -> None:
    assert system.ask("whois", pid=os.getpid())["kind"] == "ours", "who cannot be looked at is let in nowhere"
    system.ask("processes")
    assert system.ask("generation") == 1


def a_birth(system: Tiny, worker: int) -> None:
    system.spawn("wait", "agent:wait:first")  # there are two spares
    system.spawn("wait", "agent:wait:second")
    assert system.spawn("wait", "agent:wait:third")["t"] == "SpawnFailed"


def the_end_of_a_worker_that_is_stopped(system: Tiny, worker: int) -> None:
    (row,) = [one for one in system.status()["workers"] if one["pid"] == worker]
    system.ask("stop", spawn=row["spawn"], reason="enough", grace=0)
    eventually(lambda: not alive(worker))


@pytest.mark.parametrize(
    "happens",
    [
        orphan, reload, upgrade, death_of_a_worker, death_of_the_gateway, death_of_the_zygote, question, a_birth,
        the_end_of_a_worker_that_is_stopped,
    ],
)  # fmt: skip
def test_a_supervisor_without_descriptors_goes_on(happens: Callable[[Tiny, int], None]):
    with tiny(agents("wait")) as system:
        worker = system.spawn("wait")["pid"]
        eventually(lambda: len([row for row in system.processes("worker") if row["agentId"] is None]) == 2)
        eventually(lambda: [row for row in system.status()["workers"] if row["pid"] == worker])
        before = resource.prlimit(system.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(system.pid, resource.RLIMIT_NOFILE, (NONE_LEFT, before[1]))
        happens(system, worker)
        assert alive(system.pid)
        resource.prlimit(system.pid, resource.RLIMIT_NOFILE, before)
        assert eventually(lambda: system.spawn("wait")["t"] == "Spawned")


def test_the_limit_a_supervisor_is_started_with_bounds_no_number_of_workers_and_is_what_they_get():
    with tiny(agents("wait"), wrapper=("prlimit", "--nofile=100:4096")) as system:
        born = [system.spawn("wait", f"agent:wait:n{number}") for number in range(40)]
        assert [one["t"] for one in born] == ["Spawned"] * 40
        assert len(os.listdir(f"/proc/{system.pid}/fd")) > 100
        for pid in (born[-1]["pid"], system.pid_of("gateway"), system.pid_of("zygote")):
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (100, 4096)
