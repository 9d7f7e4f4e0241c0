"""Marks: what stands for a state directory, and that a process is known by either way of saying it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from supervisor import kernel, marks
from tests.support.system import eventually

OURS = kernel.seccomp_filters(os.getpid()) or 0
MINE = marks.state_mark("/var/lib/peergate")


def test_a_state_directory_has_one_mark_however_it_is_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert (
        marks.state_mark(str(tmp_path / "link")) == marks.state_mark(f"{tmp_path}/") == marks.state_mark(str(tmp_path))
    )
    assert marks.state_mark(str(tmp_path)) != MINE
    assert len(MINE) == 16


def test_the_limit_that_says_the_same_stays_useful():
    assert 750_000 < marks.queue_limit("ffff") < marks.queue_limit("0") < 819_200


@pytest.fixture
def marked():
    """A process that marked itself, and a program it started with an empty environment."""
    code = (
        "import subprocess, sys; from supervisor import kernel, marks\n"
        f"kernel.forbid_new_privileges(); marks.install({MINE!r})\n"
        "tool = subprocess.Popen(['setsid', 'sleep', '300'], env={})\n"
        "print(tool.pid, flush=True); sys.stdin.read(); tool.kill()"
    )
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process.pid, int(process.stdout.readline())
    process.communicate()


def test_marks_are_inherited_by_a_program_without_environment(marked):
    for pid in marked:
        assert kernel.seccomp_filters(pid) == OURS + 1
        assert marks.has_more_filters(pid, OURS)
        assert not marks.has_more_filters(pid, OURS + 1)
        assert marks.is_of_state(pid, MINE)
        assert not marks.is_of_state(pid, marks.state_mark("/somewhere/else"))


def test_the_environment_alone_names_the_state_directory_too():
    with subprocess.Popen(["sleep", "300"], env={marks.STATE_VARIABLE: MINE}) as process:
        try:
            # The pipe that tells of exec is closed a moment before the kernel has the new environment in place.
            eventually(lambda: marks.is_of_state(process.pid, MINE))
            assert not marks.has_more_filters(process.pid, OURS)
        finally:
            process.kill()


def test_nothing_is_said_of_a_process_that_is_gone():
    process = subprocess.Popen(["true"])
    process.wait()
    assert not marks.is_of_state(process.pid, MINE)
    assert not marks.has_more_filters(process.pid, 0)
