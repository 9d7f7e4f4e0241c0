"""What dies with whom: workers with the supervisor that is killed, trees with their workers, leftovers at the next
boot."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from supervisor import kernel, marks, trees
from supervisor.cgroups import Cgroup
from tests.support.spawn_targets import assign, ended, heard, is_alive, until_dead

FILTERS = kernel.seccomp_filters(os.getpid()) or 0
CGROUP_ROOTS = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]

TOOLS = """
import subprocess, time
plain = subprocess.Popen(["sleep", "300"])
session = subprocess.Popen(["sleep", "300"], start_new_session=True)
stopped = subprocess.Popen(["sleep", "300"])
os.kill(stopped.pid, 19)
script = "setsid sh -c 'echo $$; exec sleep 300' & exit 0"
daemon = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, env={})
daemonised = int(daemon.stdout.readline())
daemon.wait()
say([os.getpid(), plain.pid, session.pid, stopped.pid, daemonised])
"""


def supervisor_with(method: str, state_dir: str, count: int, code: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    command = [sys.executable, "-I", "-m", "tests.support.spawn_targets", method, state_dir, str(count), code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def close(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize("method", ["zygote", "exec"])
async def test_killing_the_supervisor_kills_every_worker_a_stopped_one_too(method, tmp_path):
    process, said = supervisor_with(method, str(tmp_path), 4, "say(os.getpid()); hear(); hear()")
    workers = said["workers"]
    assert all(map(is_alive, workers))
    os.kill(workers[1], signal.SIGSTOP)
    began = time.monotonic()
    close(process)
    await until_dead([*workers, *([said["zygote"]] if "zygote" in said else [])], seconds=5)
    assert time.monotonic() - began < 2


async def test_a_worker_does_not_die_with_a_thread_of_the_supervisor(nest):
    birth = await nest.worker()
    birth.channel.send_nowait(assign("say(1); hear()"))
    await heard(birth)
    for _ in range(20):
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
    await trio.sleep(0.05)
    assert is_alive(birth.pid)


async def test_a_dead_supervisors_leftovers_are_known_by_their_state_directory(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    first, said = supervisor_with("zygote", str(mine), 2, TOOLS + "hear()")
    second, spared = supervisor_with("zygote", str(other), 1, TOOLS + "hear()")
    bystander = subprocess.Popen(["sleep", "300"], env={marks.STATE_VARIABLE: marks.state_mark(str(mine))})
    try:
        close(first)
        close(second)
        workers = [tree[0] for tree in [*said["workers"], *spared["workers"]]]
        await until_dead(workers)
        left = [pid for tree in said["workers"] for pid in tree[1:]]
        assert all(map(is_alive, left)), "tools are not in the parent-death chain: that is what the scan is for"
        report = trees.boot_scan(marks.state_mark(str(mine)), FILTERS)
        assert (report.killed, report.left) == (len(left), ())
        await until_dead(left)
        assert all(map(is_alive, spared["workers"][0][1:])), "another state directory's are not ours to kill"
        assert is_alive(bystander.pid), "an environment variable alone makes nobody ours"
    finally:
        trees.boot_scan(marks.state_mark(str(other)), FILTERS)
        await until_dead(spared["workers"][0])
        bystander.kill()
        bystander.wait()


async def test_killing_a_tree_leaves_nothing_however_it_hid(nest):
    birth = await nest.worker()
    birth.channel.send_nowait(assign(TOOLS + "hear()"))
    family = await heard(birth)
    report = await trees.kill_tree(birth.pid, birth.pidfd)
    assert (report.killed, report.left) == (len(family), ())
    assert [pid for pid in family if is_alive(pid)] == [], "without a sweep, which cannot tell whose they were"
    assert await ended(birth) == trees.Exit(signal=signal.SIGKILL)
    await trees.sweep(set, FILTERS)
    assert [pid for pid in family if is_alive(pid)] == []


async def test_when_a_worker_ends_by_itself_what_it_left_is_swept(nest):
    neighbour = await nest.worker()
    neighbour.channel.send_nowait(assign(TOOLS + "hear()"))
    neighbours = await heard(neighbour)
    birth = await nest.worker()
    birth.channel.send_nowait(assign(TOOLS))
    family = await heard(birth)
    assert await ended(birth) == trees.Exit(code=0)
    known = {one.pid for one in nest.births} | ({nest.zygote.pid} if nest.zygote else set())
    report = await trees.sweep(lambda: known, FILTERS)
    assert report.left == ()
    assert report.killed >= 4
    assert [pid for pid in family if is_alive(pid)] == []
    assert all(map(is_alive, neighbours)), "another worker's tools are under that worker"
    await trees.kill_tree(neighbour.pid, neighbour.pidfd)


async def test_a_worker_killed_in_the_moment_of_its_birth_is_reaped_like_any_other(nest):
    for _ in range(40 if nest.factory.method == "zygote" else 3):
        birth = await nest.factory.spawn("worker")
        trees.send(birth.pidfd, signal.SIGKILL)
        assert await ended(birth) == trees.Exit(signal=signal.SIGKILL)
        birth.close()


async def test_several_tasks_may_wait_for_the_same_end(nest):
    birth = await nest.worker()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(trees.wait_ended, birth.pidfd)
        await trio.testing.wait_all_tasks_blocked()
        trees.send(birth.pidfd, signal.SIGKILL)
    assert await ended(birth) == trees.Exit(signal=signal.SIGKILL)
    with pytest.raises(ChildProcessError):
        trees.reap(birth.pidfd)


async def test_a_stopped_worker_is_killed_with_its_tree(nest):
    birth = await nest.worker()
    birth.channel.send_nowait(assign(TOOLS + "hear()"))
    family = await heard(birth)
    os.kill(birth.pid, signal.SIGSTOP)
    await trees.kill_tree(birth.pid, birth.pidfd)
    await ended(birth)
    await trees.sweep(set, FILTERS)
    assert [pid for pid in family if is_alive(pid)] == []


BOMB = """
import resource, time
resource.setrlimit(resource.RLIMIT_NPROC, (200, 200))
say(os.getpid())
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    try:
        if os.fork() == 0:
            os.setsid()
    except BlockingIOError:
        pass
os._exit(0)
"""


async def test_a_fork_bomb_is_over_when_its_tree_is_killed(nest):
    uid = 61_235
    birth = await nest.worker()
    birth.channel.send_nowait(assign(BOMB, uid=uid, gid=uid))
    await heard(birth)
    await trio.sleep(0.3)
    before = processes_of(uid)
    assert len(before) > 20
    await trees.kill_tree(birth.pid, birth.pidfd)
    known = {nest.zygote.pid} if nest.zygote else set()
    await ended(birth)
    report = await trees.sweep(lambda: known, FILTERS)
    assert report.left == ()
    assert processes_of(uid) == []


def processes_of(uid: int) -> list[int]:
    found = []
    for pid in filter(is_alive, kernel.all_pids()):
        with contextlib.suppress(OSError):
            if f"Uid:\t{uid}\t" in Path(f"/proc/{pid}/status").read_text():
                found.append(pid)
    return found


def born_as(pid: int, command: str) -> subprocess.Popen[bytes] | None:
    """A process with this very number, when the kernel lets us say which it gives next (CAP_CHECKPOINT_RESTORE)."""
    for _ in range(200):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        process = subprocess.Popen(["sh", "-c", command])
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
    return None


@pytest.mark.skipif(not os.access("/proc/sys/kernel/ns_last_pid", os.W_OK), reason="needs to choose a pid")
async def test_a_leader_that_is_reaped_while_its_tree_is_killed_hits_nobody_who_gets_its_number(monkeypatch):
    monkeypatch.setattr(trees, "PAUSE", 0.5)
    monkeypatch.setattr(trees, "MAX_PAUSE", 0.5)
    leader = subprocess.Popen(["sh", "-c", "sleep 300 & wait"])
    await until_true(lambda: kernel.children_of(leader.pid))
    (tool,), pidfd = kernel.children_of(leader.pid), os.pidfd_open(leader.pid)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trees.kill_tree, leader.pid, pidfd)
        await until_dead([tool])
        leader.kill()  # by the kernel, or an operator; and whoever serves it reaps it
        leader.wait()
        stranger = born_as(leader.pid, "sleep 300 & wait")
        assert stranger is not None
        await until_true(lambda: kernel.children_of(stranger.pid))
        (others,) = kernel.children_of(stranger.pid)
    os.close(pidfd)
    survived = is_alive(others)
    with contextlib.suppress(ProcessLookupError):
        os.kill(others, signal.SIGKILL)
    stranger.kill()
    stranger.wait()
    assert survived


async def until_true(holds: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not holds():
            await trio.sleep(0.005)


async def test_a_child_that_was_never_ours_is_reaped_but_not_killed():
    kernel.become_subreaper()
    try:
        script = "sleep 300 </dev/null >/dev/null 2>&1 & echo $!"
        stranger = int(subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout)
        assert stranger in kernel.children_of(os.getpid())
        await trees.sweep(set, FILTERS)
        assert is_alive(stranger)
        os.kill(stranger, signal.SIGKILL)
        await until_dead([stranger])
        await trees.sweep(set, FILTERS)
        assert kernel.stat_of(stranger) is None
    finally:
        kernel.become_subreaper(False)


async def test_a_sweep_steals_no_exit_status_of_a_child_somebody_knows():
    processes = [subprocess.Popen(["sh", "-c", f"exit {code}"]) for code in range(1, 21)]
    known = {process.pid for process in processes}
    await until_dead(list(known))
    await trees.sweep(lambda: known, FILTERS)
    assert [process.wait() for process in processes] == list(range(1, 21))


@pytest.fixture
def cgroup():
    root = next((root for root in CGROUP_ROOTS if os.access(root / "cgroup.procs", os.W_OK)), None)
    if root is None:
        pytest.skip("needs a delegated cgroup: no writable cgroup v2 here")
    place = root / f"peergate-kill-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as error:
        pytest.skip(f"needs a delegated cgroup: {error}")
    return Cgroup(str(place))


async def test_a_worker_in_a_control_group_is_killed_by_one_write(nest, cgroup):
    birth = await nest.worker()
    cgroup.join(birth.pid)
    birth.channel.send_nowait(assign(TOOLS + "hear()"))
    family = await heard(birth)
    report = await trees.kill_tree(birth.pid, birth.pidfd, cgroup)
    assert report.left == ()
    assert await ended(birth) == trees.Exit(signal=signal.SIGKILL)
    assert [pid for pid in family if is_alive(pid)] == []
    await trees.sweep(lambda: {nest.zygote.pid} if nest.zygote else set(), FILTERS)
    assert cgroup.remove()


def test_groups_left_by_a_dead_supervisor_are_emptied_at_boot(cgroup):
    process = subprocess.Popen(["sh", "-c", "read go; setsid sleep 300"], stdin=subprocess.PIPE)
    cgroup.join(process.pid)
    report = trees.boot_scan(marks.state_mark("/nowhere"), FILTERS, [cgroup])
    assert report.killed >= 1
    assert process.wait() == -signal.SIGKILL
    assert process.stdin is not None
    process.stdin.close()
    assert not Path(cgroup.path).exists()
