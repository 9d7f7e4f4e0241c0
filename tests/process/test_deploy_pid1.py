"""peergate as PID 1 of a PID namespace, which is what it is in a container: what it must reap, end and leave alone, and
who is who to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.cli.errors import NOT_ALLOWED
from tests.support.system import System, alive, eventually

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL")
PEERGATE = str(Path(sys.executable).with_name("peergate"))


class Contained(System):
    """A system whose supervisor is PID 1. `init` is that process as we see it."""

    @property
    def init(self) -> int:
        (child,) = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(child)

    def enter(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as `docker exec` does: in the namespaces, but no descendant of PID 1."""
        inside = ["nsenter", "--target", str(self.init), "--mount", "--pid", "--", *command]
        environment = {**os.environ, "PEERGATE_RUNTIME_DIR": str(self.runtime), "PEERGATE_STATE_DIR": str(self.state)}
        return subprocess.run(inside, env=environment, capture_output=True, text=True, timeout=30, check=False)

    def everybody(self) -> dict[int, str]:
        """State letter of every process inside, by its number there."""
        listed = self.enter("sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null || true").stdout
        return {int(line.split()[0]): line.rsplit(")", 1)[1].split()[0] for line in listed.splitlines()}


@pytest.fixture
def system() -> Iterator[Contained]:
    if os.geteuid() != 0:
        pytest.skip("needs user namespaces, or root, to be PID 1")
    contained = Contained(wrapper=NAMESPACE)
    try:
        contained.start()
        yield contained
    finally:
        contained.remove()


def stop(system: Contained) -> int:
    """Ask PID 1 itself, as a container's runtime does; its exit code."""
    assert system.process is not None
    os.kill(system.init, signal.SIGTERM)
    return system.process.wait(20)


def test_it_stops_with_0_and_takes_everything_along(system: Contained):
    inside = [int(pid) for pid in _descendants(system.pid)]
    assert len(inside) >= 3
    started = time.monotonic()
    assert stop(system) == 0
    assert time.monotonic() - started < 8
    assert not [pid for pid in inside if alive(pid)]
    assert list(system.runtime.iterdir()) == []


def test_orphans_of_an_exec_are_reaped_when_they_end_and_left_alone_while_they_live(system: Contained):
    script = "for i in 1 2 3 4 5; do setsid sleep 0.0$i & done; setsid sleep 4244 > /dev/null 2>&1 &"
    assert system.enter("sh", "-c", script).returncode == 0
    (sleeper,) = eventually(lambda: _named(system, "sleep 4244"))
    eventually(lambda: "Z" not in system.everybody().values())
    eventually(lambda: not _named(system, "sleep 0.0"))
    assert system.enter(PEERGATE, "health").returncode == 0
    assert alive(sleeper)
    assert stop(system) == 0
    assert not alive(sleeper)  # the kernel ends a PID namespace with its PID 1


def test_root_of_an_exec_is_an_operator_and_root_outside_the_namespace_is_nobody(system: Contained):
    inside = system.enter(PEERGATE, "health")
    assert inside.returncode == 0, inside.stderr
    outside = system.cli("health")
    assert outside.returncode == NOT_ALLOWED
    assert "another PID namespace" in outside.stderr


def _descendants(pid: int) -> Iterator[str]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return  # it ended while we looked
    for child in children:
        yield child
        yield from _descendants(int(child))


def _named(system: Contained, words: str) -> list[int]:
    """The processes below PID 1 with these words on their command line."""
    found = []
    for pid in _descendants(system.init):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            if words.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "):
                found.append(int(pid))
    return found
