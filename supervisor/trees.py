"""Ending processes with all they started: one worker's tree, strays under the supervisor, leftovers of a dead
supervisor.

Owns: SIGKILL to more than one process, and reaping. Nothing here waits for "any child": a wait names the process it is
for, because a stolen exit status turns a crash into a success."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import trio

from supervisor import kernel, marks
from supervisor.cgroups import Cgroup, wait_until_empty

MAX_ROUNDS = 400
"""Looks at a tree that is being killed. Each stops what it finds, so even a fork bomb loses ground with every round."""
PAUSE = 0.002
MAX_PAUSE = 0.02
"""Between rounds: the killed need the processor to die, and everybody who asks the supervisor shares ours."""
BOOT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: exactly one of its exit status and the signal that killed it."""

    code: int | None = None
    signal: int | None = None


@dataclass(slots=True)
class Report:
    """What a kill took. `left` names what was still there when the rounds were used up; empty means nothing
    survived."""

    killed: int = 0
    rounds: int = 0
    left: tuple[int, ...] = ()


# --- one process ------------------------------------------------------------------------------------------------------


def send(pidfd: int, number: int) -> bool:
    """Signal the process behind a pidfd. False when it has been reaped."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


async def wait_ended(pidfd: int) -> None:
    """Wait until a child of ours has exited and can be reaped, which is left to the caller. Any number of tasks may
    wait for one.

    A child of the zygote's that dies within a millisecond of its birth still belongs to the intermediate process for a
    moment."""
    try:
        watched = os.dup(pidfd)  # Trio lets one task wait for one descriptor
    except OSError:  # there are no more: what needs none is to look again and again
        while not kernel.has_ended(pidfd):  # noqa: ASYNC110
            await trio.sleep(MAX_PAUSE)
        return await _wait_reapable(pidfd)
    try:
        await trio.lowlevel.wait_readable(watched)
        await _wait_reapable(watched)
    finally:
        os.close(watched)


async def _wait_reapable(pidfd: int) -> None:
    for _ in range(MAX_ROUNDS):
        if _can_be_reaped(pidfd):
            return
        await trio.sleep(PAUSE)


def _can_be_reaped(pidfd: int) -> bool:
    """Whether an ended process is our child by now; True too when it has been reaped, for then there is nothing to wait
    for."""
    if not send(pidfd, 0):
        return True
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def reap(pidfd: int) -> Exit | None:
    """Reap our child behind this pidfd. None while it runs. Raises ChildProcessError when it is not our child, or no
    longer."""
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return Exit(code=result.si_status)
    return Exit(signal=result.si_status)


# --- trees ------------------------------------------------------------------------------------------------------------


def descendants(pid: int) -> list[int]:
    """Everything below a process, parents before children, as seen in one look."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = kernel.children_of(waiting.pop())
        found += children
        waiting += children
    return found


async def kill_tree(pid: int, pidfd: int, cgroup: Cgroup | None = None) -> Report:
    """Kill a child of ours and everything below it; return when the leader has ended. It is the caller's to reap.

    The leader is stopped first and killed last: while it stands, its orphans stay under it (it is a subreaper) and are
    told from other workers'. What slips out meanwhile becomes our own child: call `sweep` afterwards, as when a leader
    died by itself."""
    report = Report()
    if cgroup is not None and cgroup.kill():
        await _wait_empty(cgroup)
    if send(pidfd, signal.SIGSTOP) and not kernel.has_ended(pidfd):
        await _kill_below(pid, pidfd, report)
        report.killed += 1
    send(pidfd, signal.SIGKILL)
    await wait_ended(pidfd)
    return report


async def _wait_empty(cgroup: Cgroup) -> None:
    for _ in range(MAX_ROUNDS):
        if not cgroup.populated():
            return
        await trio.sleep(PAUSE)


async def _kill_below(pid: int, pidfd: int, report: Report) -> None:
    """Stop everything below `pid` until a look finds nothing new, kill it, and look again until nothing is left, or the
    leader has ended: whoever reaps it sets its number free.

    The dead stay listed until their parents wait for them, which a stopped parent never does: zombies do not count."""
    killed: set[int] = set()
    left: list[int] = []
    for _ in range(MAX_ROUNDS):
        report.rounds += 1
        left = [] if kernel.has_ended(pidfd) else [one for one in _stop_all(pid) if not _is_dead(one)]
        if not left:
            break
        killed.update(one for one in left if _kill_number(one, signal.SIGKILL))
        await trio.sleep(min(MAX_PAUSE, PAUSE * report.rounds))
    report.killed, report.left = len(killed), tuple(left)


def _stop_all(pid: int) -> list[int]:
    """SIGSTOP everything below a process, each before its own children are read, so that they are all there are; again
    until a look shows nobody new, for what ended meanwhile handed its children to the leader."""
    stopped: set[int] = set()
    for _ in range(MAX_ROUNDS):
        before = len(stopped)
        waiting = kernel.children_of(pid)
        while waiting:
            one = waiting.pop()
            if one not in stopped:
                _kill_number(one, signal.SIGSTOP)
                stopped.add(one)
            waiting += kernel.children_of(one)
        if len(stopped) == before:
            break
    return list(stopped)


def _is_dead(pid: int) -> bool:
    stat = kernel.stat_of(pid)
    return stat is None or stat.state in "ZX"


def _kill_number(pid: int, number: int) -> bool:
    """Signal by number what was just seen in a tree of ours, through a pidfd so that it cannot be anybody later. False
    when gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        return send(pidfd, number)
    except PermissionError:
        return False  # a number that was reused by another user's process
    finally:
        os.close(pidfd)


# --- strays -----------------------------------------------------------------------------------------------------------


async def sweep(known: Callable[[], Collection[int]], own_filters: int) -> Report:
    """Deal with every child of ours that nobody knows. Marked (more seccomp filters than we have): something of a
    worker that got away: killed with all below it, and reaped. Unmarked: only reaped when it ends; as PID 1 we inherit
    other people's orphans.

    `known` is asked on every round, and names the children somebody else reaps."""
    report = Report()
    for _ in range(MAX_ROUNDS):
        report.rounds += 1
        strays = [pid for pid in kernel.children_of(os.getpid()) if pid not in known()]
        marked = [pid for pid in strays if not _reap_number(pid) and marks.has_more_filters(pid, own_filters)]
        if not marked:
            report.left = ()
            return report
        for pid in marked:
            _stop_all(pid)
            for one in (*descendants(pid), pid):
                report.killed += _kill_number(one, signal.SIGKILL)
        report.left = tuple(marked)
        await trio.sleep(min(MAX_PAUSE, PAUSE * report.rounds))
    return report


def _reap_number(pid: int) -> bool:
    """Reap a child of ours, pinned until then, if it has ended; True when it is gone."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None
    except ChildProcessError:
        return True


# --- after a supervisor that died -------------------------------------------------------------------------------------


def boot_scan(state_mark: str, own_filters: int, groups: Iterable[Cgroup] = ()) -> Report:
    """Kill what the tools of a dead supervisor of the same state directory left running. Blocking, a few milliseconds
    per hundred processes, BOOT_SECONDS at most; run it after taking the lock and before listening, before there is any
    process of our own.

    Ours is who stands in one of the `groups` (left in our own cgroup), or carries a filter mark *and* names the state
    directory (`marks.is_of_state`). Workers themselves died with their supervisor."""
    report = Report()
    for group in groups:
        report.killed += len(group.members())
        group.kill()
        wait_until_empty(group, BOOT_SECONDS)
        group.remove()
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline:
        report.rounds += 1
        left = [pid for pid in kernel.all_pids() if _is_leftover(pid, state_mark, own_filters)]
        report.left = tuple(left)
        if not left:
            break
        for pid in left:
            report.killed += _kill_leftover(pid, state_mark, own_filters)
        time.sleep(PAUSE)
    return report


def _is_leftover(pid: int, state_mark: str, own_filters: int) -> bool:
    if pid == os.getpid() or not marks.has_more_filters(pid, own_filters):
        return False
    return not _is_dead(pid) and marks.is_of_state(pid, state_mark)


def _kill_leftover(pid: int, state_mark: str, own_filters: int) -> bool:
    """Open first, look again, then kill: the number may have changed hands since the first look."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        return _is_leftover(pid, state_mark, own_filters) and send(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)
