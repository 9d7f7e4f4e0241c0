"""Crash points: nothing without a table, and a table comes only as an inherited descriptor."""

from __future__ import annotations

import ast
import fcntl
import os
import signal
import time
from pathlib import Path

import pytest

from supervisor import crashpoints
from supervisor.crashpoints import DELAY, DIE, POINTS, STOP, attach, crashpoint, wall_clock
from tests.faults.table import Table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def table():
    with Table() as made:
        yield made


def in_a_child(table: Table, body) -> int:
    """Run `body` in a forked process that has the table; its wait status. A stopped one is ended."""
    if (pid := os.fork()) == 0:
        attach(table.descriptor)
        body()
        os._exit(0)
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return status


def test_without_a_table_nothing_happens():
    assert crashpoints._table is None
    for name in POINTS:
        crashpoint(name)
    assert abs(wall_clock() - time.time()) < 1


def test_a_process_dies_at_the_pass_that_was_ordered(table):
    table.order("gateway.commit.before", DIE, skip=2)

    def passes_four_times():
        for number in range(4):
            os.write(writer, b"%d" % number)
            crashpoint("gateway.commit.after")
            crashpoint("gateway.commit.before")

    reader, writer = os.pipe()
    status = in_a_child(table, passes_four_times)
    os.close(writer)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert os.read(reader, 16) == b"012"
    os.close(reader)
    assert table.fired() is not None
    assert table.passes()["gateway.commit.before"] == 3


def test_a_process_stops_or_dawdles(table):
    table.order("worker.finish.before", STOP)
    assert os.WIFSTOPPED(in_a_child(table, lambda: crashpoint("worker.finish.before")))
    table.order("worker.finish.before", DELAY, millis=50)
    began = time.monotonic()
    assert in_a_child(table, lambda: crashpoint("worker.finish.before")) == 0
    assert time.monotonic() - began >= 0.05


def test_an_order_meant_for_another_process_is_not_obeyed(table):
    table.order("worker.finish.before", DIE, who="somebody else")
    assert in_a_child(table, lambda: crashpoint("worker.finish.before")) == 0
    assert table.fired() is None
    table.order("worker.finish.before", DIE, who=crashpoints.own_name().decode()[:3])
    assert os.WIFSIGNALED(in_a_child(table, lambda: crashpoint("worker.finish.before")))


def test_an_order_is_obeyed_once_and_can_be_taken_back(table):
    table.order("worker.emit.after", DIE)
    assert os.WIFSIGNALED(in_a_child(table, lambda: crashpoint("worker.emit.after")))
    assert in_a_child(table, lambda: crashpoint("worker.emit.after")) == 0
    table.order("worker.emit.after", DIE)
    assert table.cancel() is None
    assert in_a_child(table, lambda: crashpoint("worker.emit.after")) == 0


def test_the_clock_is_stepped_for_whoever_has_the_table(table):
    table.step_clock(3600)
    ahead = in_a_child(table, lambda: os._exit(int(wall_clock() - time.time() > 3590)))
    assert os.waitstatus_to_exitcode(ahead) == 1
    assert abs(wall_clock() - time.time()) < 1


def test_anything_else_than_a_table_is_refused(tmp_path):
    plain = os.memfd_create("not a table")
    os.truncate(plain, 4096)
    sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    os.truncate(sealed, 4096)
    fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(file, crashpoints.MAGIC + bytes(4096))
    for descriptor in (plain, sealed, file, 9999):
        with pytest.raises(ValueError, match="no table of crash points"):
            attach(descriptor)
    for descriptor in (plain, sealed, file):
        os.close(descriptor)
    assert crashpoints._table is None


def test_every_point_is_passed_somewhere_and_every_pass_has_a_name():
    passed: list[str] = []
    for package in ("gateway", "supervisor", "agentproc"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "crashpoint":
                    (name,) = node.args
                    assert isinstance(name, ast.Constant), f"{path}: a point is named by a literal"
                    passed.append(str(name.value))
    assert sorted(passed) == sorted(POINTS)


def test_nothing_but_the_hidden_option_and_inheritance_brings_a_table_in():
    """Who calls attach: the starts of the supervisor, the zygote and an executed child, each with the number its parent
    gave on the command line."""
    callers: set[str] = set()
    source = (ROOT / "supervisor" / "crashpoints.py").read_text()
    for package in ("gateway", "supervisor", "agentproc"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("attach", "crashpoints.attach"):
                    callers.add(str(path.relative_to(ROOT)))
    assert callers == {"supervisor/__main__.py", "supervisor/zygote.py", "supervisor/child.py"}
    assert "os.environ" not in source
    assert "getenv" not in source
