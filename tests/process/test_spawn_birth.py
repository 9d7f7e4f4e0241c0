"""Real births, by zygote and by exec: what a worker and a gateway find when their first line runs, and how they
leave."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from supervisor import channel as channels
from supervisor import kernel, trees
from supervisor.factory import BirthFailed, FactoryGone, exec_zygote
from supervisor.messages import Assign, Born, FactoryReady, Fork, Forked
from tests.support.spawn_targets import GATEWAY, WORKER, assign, ended, heard, is_alive, output_of, until_dead

SHOW = "say(facts())"


async def test_a_worker_is_our_child_alone_in_its_session_and_dies_with_us(nest):
    birth = await nest.worker()
    birth.channel.send_nowait(assign(SHOW))
    facts = await heard(birth)
    assert facts["pid"] == birth.pid
    assert facts["ppid"] == os.getpid()
    assert facts["session"] == birth.pid
    assert facts["cwd"] == "/"
    assert facts["death_signal"] == signal.SIGKILL
    assert facts["threads"] == 1
    assert birth.start == kernel.start_of(birth.pid) > 0
    assert await ended(birth) == trees.Exit(code=0)


async def test_a_worker_is_walled_in_before_its_first_line(nest):
    birth = await nest.worker()
    birth.channel.send_nowait(assign(SHOW))
    facts = await heard(birth)
    assert facts["subreaper"]
    assert facts["no_new_privs"]
    assert not facts["dumpable"]
    assert facts["filters"] == (kernel.seccomp_filters(os.getpid()) or 0) + 1
    assert facts["core"] == 0
    assert facts["descriptors"] == [0, 1, 2, 3]
    assert facts["inheritable"] == [0, 1, 2]
    ordinary = (1 << 31) - 1  # the C library keeps signals 32 and 33 to itself
    assert int(facts["ignored"], 16) & ordinary == 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    assert "nice 10" in facts["autogroup"]


async def test_a_worker_has_the_environment_it_was_given_and_no_other(nest, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "of the supervisor")
    birth = await nest.worker()
    birth.channel.send_nowait(assign(SHOW, env={"COLOUR": "blue", "PEERGATE_AGENT": "somebody else"}))
    environment = (await heard(birth))["environment"]
    assert environment["COLOUR"] == "blue"
    assert environment["PEERGATE_AGENT"] == "main"
    assert environment["PEERGATE_SESSION"] == "agent:main:main"
    assert environment["PEERGATE_SOCKET"] == "/run/peergate/agents.sock"
    ours = str(Path(sys.executable).parent)
    given = os.environ["PATH"].split(os.pathsep)
    assert environment["PATH"].split(os.pathsep) == given + ([] if ours in given else [ours])
    assert "SECRET_TOKEN" not in environment


async def test_a_worker_with_a_uid_of_its_own_has_nothing_of_ours_left(nest):
    birth = await nest.worker()
    birth.channel.send_nowait(assign(SHOW, uid=61_234, gid=61_234, limits={"openFiles": 99, "pids": 50}, cwd="/tmp"))
    facts = await heard(birth)
    assert facts["uids"] == [61_234] * 3
    assert facts["groups"] == []
    assert facts["files"] == 99
    assert facts["environment"]["HOME"] == "/tmp"
    assert facts["death_signal"] == signal.SIGKILL, "setuid clears it: it must be armed again"
    assert not facts["dumpable"], "setuid resets it"


async def test_a_worker_cannot_signal_anybody_outside_itself(nest):
    birth = await nest.worker()
    code = f"""
try:
    os.kill({os.getpid()}, 0); answer = "could"
except PermissionError:
    answer = "could not"
say(answer)
"""
    birth.channel.send_nowait(assign(code))
    assert await heard(birth) == "could not"


async def test_a_gateway_is_tied_to_us_but_carries_no_mark(nest):
    birth = await nest.gateway()
    facts = await heard(birth)
    assert (facts["ppid"], facts["session"], facts["death_signal"]) == (os.getpid(), birth.pid, signal.SIGKILL)
    assert facts["filters"] == (kernel.seccomp_filters(os.getpid()) or 0)
    assert facts["descriptors"] == [0, 1, 2, 3]
    assert not facts["dumpable"]
    assert not facts["subreaper"]
    birth.channel.close()
    assert await ended(birth) == trees.Exit(code=0)


async def test_every_exit_is_reported_as_it_was(nest):
    expected = {
        "code = 0": trees.Exit(code=0),
        "code = 7": trees.Exit(code=7),
        "raise SystemExit(75)": trees.Exit(code=75),
        "raise SystemExit('no')": trees.Exit(code=1),
        "raise SystemExit": trees.Exit(code=0),
        "1 / 0": trees.Exit(code=70),
        "os._exit(255)": trees.Exit(code=255),
        "os.kill(os.getpid(), 15)": trees.Exit(signal=15),
        "os.kill(os.getpid(), 9)": trees.Exit(signal=9),
        "os.abort()": trees.Exit(signal=6),
    }
    found = {}
    for code in expected:
        birth = await nest.worker()
        birth.channel.send_nowait(assign(code))
        found[code] = await ended(birth)
    assert found == expected


async def test_what_a_worker_prints_and_how_it_failed_come_out_of_its_pipe(nest):
    birth = await nest.worker()
    birth.channel.send_nowait(assign("print('hello'); raise RuntimeError('out of luck')"))
    await ended(birth)
    output = output_of(birth)
    assert output.startswith("hello\nTraceback")
    assert "RuntimeError: out of luck" in output


async def test_a_stuck_worker_that_is_aborted_says_where_it_was(nest):
    birth = await nest.worker()
    birth.channel.send_nowait(assign("def stuck():\n    say(1)\n    hear()\nstuck()"))
    await heard(birth)
    trees.send(birth.pidfd, signal.SIGABRT)
    assert await ended(birth) == trees.Exit(signal=signal.SIGABRT)
    assert "in stuck" in output_of(birth)


async def test_a_spare_leaves_when_its_lifeline_does(nest):
    birth = await nest.worker()
    received = await birth.channel.receive()
    assert received is not None
    assert received[0] == Born(pid=birth.pid)
    birth.channel.close()
    assert await ended(birth) == trees.Exit(code=0)


async def test_a_child_told_something_else_than_its_assignment_refuses(nest):
    birth = await nest.worker()
    birth.channel.send_nowait(Born(pid=1))
    assert await ended(birth) == trees.Exit(code=70)
    assert f"must be {Assign.__name__}" in output_of(birth)


async def test_many_at_once_are_as_many_different_children(nest):
    count = 30 if nest.factory.method == "zygote" else 5  # a fresh interpreter takes a hundred times as long
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(nest.worker)
    assert len({birth.pid for birth in nest.births}) == count
    for birth in nest.births:
        birth.channel.send_nowait(
            assign("import random, secrets; say([facts()['ppid'], secrets.token_hex(8), random.random()])")
        )
    said = [await heard(birth) for birth in nest.births]
    assert {parent for parent, _, _ in said} == {os.getpid()}
    assert len({secret for _, secret, _ in said}) == count, "forks of one process must not share their randomness"
    assert len({number for _, _, number in said}) == count


async def test_workers_outlive_the_zygote_and_the_next_one_goes_on(zygote_nest):
    nest = zygote_nest
    birth = await nest.worker()
    birth.channel.send_nowait(assign("say(facts()); hear()"))
    await heard(birth)
    first = nest.zygote
    trees.send(first.pidfd, signal.SIGKILL)
    await ended(first)
    first.close()
    nest.zygote = None
    assert is_alive(birth.pid)
    await nest.start_zygote()
    another = await nest.worker()
    another.channel.send_nowait(assign("code = 5"))
    assert await ended(another) == trees.Exit(code=5)
    assert is_alive(birth.pid)


async def test_a_zygote_that_dies_owes_nobody_an_answer(zygote_nest):
    nest = zygote_nest
    outcomes = []

    async def ask():
        try:
            await nest.worker()
            outcomes.append("born")
        except FactoryGone:
            outcomes.append("gone")

    os.kill(nest.zygote.pid, signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
        await trio.sleep(0.05)
        trees.send(nest.zygote.pidfd, signal.SIGKILL)
    assert outcomes == ["gone"] * 5


def parent_of(pid: int) -> int:
    stat = kernel.stat_of(pid)
    assert stat is not None
    return stat.ppid


async def test_a_child_becomes_ours_only_when_we_acknowledged_it(zygote_nest):
    """Before, its number must stay pinned by somebody else, or a sweep could reap what nobody knows yet."""
    zygote = exec_zygote(WORKER, GATEWAY, {})
    received = await zygote.channel.receive()
    assert received is not None
    assert received[0] == FactoryReady(zygote.pid)
    ours, theirs = channels.pair()
    readable, writable = os.pipe()
    waiting, acknowledge = os.pipe()
    zygote.channel.send_nowait(Fork(1, "worker", os.getpid()), [theirs.fileno(), writable, waiting])
    received = await zygote.channel.receive()
    assert received is not None
    assert isinstance(received[0], Forked)
    pid, (pidfd,) = received[0].pid, received[1]
    await trio.sleep(0.05)
    assert parent_of(pid) not in (os.getpid(), zygote.pid)
    os.close(acknowledge)
    with trio.fail_after(5):
        while parent_of(pid) != os.getpid():
            await trio.sleep(0.002)
    for birth_pidfd in (pidfd, zygote.pidfd):
        trees.send(birth_pidfd, signal.SIGKILL)
        await trees.wait_ended(birth_pidfd)
        assert trees.reap(birth_pidfd) == trees.Exit(signal=signal.SIGKILL)
    for sock in (ours, theirs):
        sock.close()
    for descriptor in (readable, writable, waiting):
        os.close(descriptor)
    zygote.close()


async def test_a_birth_nobody_waits_for_any_more_leaves_nothing_behind(zygote_nest):
    nest = zygote_nest
    os.kill(nest.zygote.pid, signal.SIGSTOP)
    with trio.move_on_after(0.05):
        await nest.factory.spawn("worker")
    os.kill(nest.zygote.pid, signal.SIGCONT)
    birth = await nest.worker()  # the forsaken one came before it
    with trio.fail_after(10):
        while set(kernel.children_of(os.getpid())) != {nest.zygote.pid, birth.pid}:
            await trees.sweep(lambda: {nest.zygote.pid, birth.pid}, kernel.seccomp_filters(os.getpid()) or 0)
            await trio.sleep(0.01)


async def test_exec_says_when_there_is_no_such_program(nest, monkeypatch):
    if nest.factory.method == "zygote":
        return
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(BirthFailed, match="No such file"):
        await nest.factory.spawn("worker")


async def test_a_hundred_births_leave_no_descriptor_open(zygote_nest):
    nest = zygote_nest
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        birth = await nest.factory.spawn("worker")
        birth.channel.send_nowait(assign("code = 3"))
        assert await ended(birth) == trees.Exit(code=3)
        birth.close()
    assert len(os.listdir("/proc/self/fd")) == before
    await until_dead([])
