"""Who real processes are to the supervisor: workers, their tools however they hide, ours, strangers, the dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import trio
import trio.lowlevel

from supervisor import kernel, trees
from supervisor.spawn import SpawnTable
from supervisor.whois import Who, Whois
from tests.support.spawn_targets import assign, ended, heard, until_dead

OLD_KERNEL = 0
"""A filesystem type no pidfd has: the table then goes by numbers, as before Linux 6.9."""


@pytest.fixture(params=[kernel.PID_FS_MAGIC, OLD_KERNEL], ids=["inodes", "numbers"])
def table(request):
    table = SpawnTable(pidfs=request.param)
    myself = os.pidfd_open(os.getpid())
    table.own("supervisor", os.getpid(), myself)
    os.close(myself)
    return table


def ask(table: SpawnTable, pid: int) -> Who:
    pidfd = os.pidfd_open(pid)
    try:
        return Whois(table).identify(pidfd, pid)
    finally:
        os.close(pidfd)


TOOLS = """
import subprocess
child = subprocess.Popen(["sh", "-c", "sleep 300 & echo $!; wait"], stdout=subprocess.PIPE)
grandchild = int(child.stdout.readline())
daemon = subprocess.Popen(["sh", "-c", "setsid sh -c 'echo $$; exec sleep 300' & exit 0"], stdout=subprocess.PIPE)
daemonised = int(daemon.stdout.readline())
daemon.wait()
say([child.pid, grandchild, daemonised])
hear()
"""


async def test_a_worker_is_itself_and_what_it_starts_is_its_tool(nest, table):
    birth = await nest.worker()
    entry = table.add(birth, spawn="s1", agent="main", session="agent:main:main", generation=1, now=0.0)
    birth.channel.send_nowait(assign(TOOLS))
    family = await heard(birth)
    who = ask(table, birth.pid)
    assert (who.kind, who.spawn, who.start) == ("worker", entry, birth.start)
    for pid in family:
        who = ask(table, pid)
        assert (who.kind, who.spawn, who.start) == ("tool", entry, kernel.start_of(pid))
    await trees.kill_tree(birth.pid, birth.pidfd)


async def test_the_supervisor_its_zygote_its_spares_and_gateways_are_ours(zygote_nest, table):
    nest = zygote_nest
    table.own("zygote", nest.zygote.pid, nest.zygote.pidfd)
    gateway = await nest.gateway()
    await heard(gateway)
    table.own("gateway", gateway.pid, gateway.pidfd)
    spare = await nest.worker()  # born, but nobody registered it
    await spare.channel.receive()  # Born: it is our child by now
    assert ask(table, os.getpid()).detail == "the supervisor itself"
    assert ask(table, nest.zygote.pid).detail == "the zygote itself"
    assert ask(table, gateway.pid).detail == "the gateway itself"
    assert ask(table, spare.pid) == Who(
        "ours", None, spare.start, "a child of the supervisor that belongs to no worker"
    )


async def test_what_a_dead_worker_left_is_ours_and_never_an_operator(nest, table):
    birth = await nest.worker()
    table.add(birth, spawn="s1", agent="main", session="agent:main:main", generation=1, now=0.0)
    birth.channel.send_nowait(assign(TOOLS))
    daemonised = (await heard(birth))[2]
    trees.send(birth.pidfd, signal.SIGKILL)
    await ended(birth)
    table.remove("s1")
    assert ask(table, daemonised).kind == "ours"
    await trees.sweep(set, kernel.seccomp_filters(os.getpid()) or 0)


async def test_a_marked_process_outside_our_tree_is_ours(table, tmp_path):
    """What a tool of a supervisor that was killed looks like: a stranger's ancestry, our mark."""
    code = (
        "import os, sys, time; from supervisor import kernel, marks\n"
        "if os.fork(): os._exit(0)\n"
        "kernel.forbid_new_privileges(); marks.install(None); print(os.getpid(), flush=True); time.sleep(300)"
    )
    process = subprocess.Popen([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    marked = int(process.stdout.readline())
    process.wait()
    process.stdout.close()
    try:
        who = ask(table, marked)
        assert who.kind == "ours"
        assert "seccomp" in who.detail
    finally:
        os.kill(marked, signal.SIGKILL)


async def test_a_process_of_somebody_else_is_nobody_of_ours(table):
    assert ask(table, 1).kind == "none"
    assert ask(table, os.getppid()).kind == "none"


async def test_a_process_that_has_ended_is_dead_reaped_or_not(table):
    process = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(process.pid)
    await until_dead([process.pid])
    assert Whois(table).identify(pidfd, process.pid).kind == "dead"
    process.wait()
    assert Whois(table).identify(pidfd, process.pid).kind == "dead"
    assert Whois(table).identify(None, process.pid).kind == "dead"
    assert Whois(table).identify(None, 0).kind == "dead"
    os.close(pidfd)


async def test_a_number_used_again_is_not_the_process_that_had_it(nest):
    """Only inodes can tell: the table still holds a worker whose number belongs to somebody else by now."""
    table = SpawnTable()
    birth = await nest.worker()
    stranger = subprocess.Popen(["sleep", "300"])
    birth.pid, real = stranger.pid, birth.pid  # as if the number had come round
    table.add(birth, spawn="s1", agent="main", session="agent:main:main", generation=1, now=0.0)
    try:
        assert ask(table, stranger.pid).kind != "worker"
        assert ask(table, real).kind == "worker"
    finally:
        birth.pid = real
        stranger.kill()
        stranger.wait()


async def test_a_tool_too_deep_to_follow_is_refused_by_name(nest, table):
    birth = await nest.worker()
    table.add(birth, spawn="s1", agent="main", session="agent:main:main", generation=1, now=0.0)
    deep = """
import time
read, write = os.pipe()
for level in range(80):
    if os.fork():
        break
else:
    os.write(write, str(os.getpid()).encode())
    time.sleep(300)
if level == 0:
    say(int(os.read(read, 20)))
time.sleep(300)
"""
    birth.channel.send_nowait(assign(deep))
    deepest = await heard(birth)
    assert ask(table, deepest) == Who("ours", None, kernel.start_of(deepest), "more than 64 ancestors")
    await trees.kill_tree(birth.pid, birth.pidfd)


async def test_fast_forking_tools_are_never_taken_for_strangers(nest, table):
    """A chain of processes that each fork and exit: their ancestry changes under the walk, and must not open a door."""
    birth = await nest.worker()
    table.add(birth, spawn="s1", agent="main", session="agent:main:main", generation=1, now=0.0)
    chain = """
import time
deadline = time.monotonic() + 1.0
if os.fork() == 0:
    while time.monotonic() < deadline:
        if os.fork():
            os._exit(0)
    os._exit(0)
say(1)
hear()
"""
    birth.channel.send_nowait(assign(chain))
    await heard(birth)
    kinds = set()
    with trio.move_on_after(1.0):
        while True:
            for pid in trees.descendants(birth.pid):
                try:
                    kinds.add(ask(table, pid).kind)
                except ProcessLookupError:
                    continue
            await trio.lowlevel.checkpoint()
    assert kinds <= {"tool", "dead", "ours"}
    assert "tool" in kinds
    await trees.kill_tree(birth.pid, birth.pidfd)
