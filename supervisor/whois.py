"""Who is the process behind this pidfd? The supervisor's answer to the gateway, from the spawn table, descent and
marks.

Owns: the order in which they count. The table before descent, descent before marks; a mark, and anything that cannot be
told, only ever takes rights away."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from supervisor import kernel, marks
from supervisor.ancestry import Answer, Found, Gone, walk
from supervisor.messages import Identity
from supervisor.spawn import Own, Spawn, SpawnTable

_NO_PIDFD_INFO = {errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP}


@dataclass(frozen=True, slots=True)
class Who:
    """A kind as in `messages.Identity`, the worker it is or belongs to, and why. `start` is the process's own."""

    kind: str
    spawn: Spawn | None = None
    start: int = 0
    detail: str = ""

    def identity(self, id: int, *, subprocess_gateway: bool = True) -> Identity:
        """The answer to the question `id`."""
        spawn, agent, session = (
            ("", "", "") if self.spawn is None else (self.spawn.spawn, self.spawn.agent, self.spawn.session)
        )
        return Identity(id, self.kind, spawn, agent, session, self.start, self.detail, subprocess_gateway)


class Whois:
    """Answers from one spawn table. `marks` is how many seccomp filters the supervisor itself has."""

    def __init__(self, table: SpawnTable, own_filters: int | None = None) -> None:
        self._table = table
        self._own_filters = (kernel.seccomp_filters(os.getpid()) or 0) if own_filters is None else own_filters

    def identify(self, pidfd: int | None, pid: int) -> Who:
        """The process behind a pidfd, which stays the caller's; without one (Linux before 6.5) the process that has
        this number now.

        Does not wait; some twenty microseconds for an ordinary tree, a few milliseconds at most."""
        try:
            with _descriptor(pidfd, pid) as peer:
                return self._identify(peer)
        except Gone:
            return Who("dead", detail="the process has ended")

    def _identify(self, peer: int) -> Who:
        if kernel.has_ended(peer):
            raise Gone
        pid = kernel.pidfd_pid(peer)
        if pid is None:
            return Who("none", detail="a process of another PID namespace")
        who = self._by_table(peer) or self._by_descent(peer, pid)
        start = kernel.start_of(pid)
        if kernel.has_ended(peer):  # what was read by number counts only if the process still had it
            raise Gone
        return Who(who.kind, who.spawn, start, who.detail)

    def _by_table(self, peer: int) -> Who | None:
        entry = self._table.match(peer)
        if isinstance(entry, Spawn):
            return Who("worker", entry)
        return Who("ours", detail=f"the {entry.kind} itself") if entry is not None else None

    def _by_descent(self, peer: int, pid: int) -> Who:
        found: Found[Spawn | Own] = walk(peer, _Processes(self._table))
        match found.answer:
            case Answer.FOUND:
                if isinstance(found.entry, Spawn):
                    return Who("tool", found.entry)
                return Who("ours", detail=f"started by the {found.entry.kind if found.entry else 'supervisor'}")
            case Answer.SUPERVISOR:
                return Who("ours", detail="a child of the supervisor that belongs to no worker")
            case Answer.OUTSIDE:
                return self._by_mark(pid)
            case Answer.UNSTABLE | Answer.TOO_DEEP:
                return Who("ours", detail=found.answer.value)
            case Answer.DEAD:
                raise Gone
            case _:
                assert_never(found.answer)

    def _by_mark(self, pid: int) -> Who:
        if marks.has_more_filters(pid, self._own_filters):
            return Who("ours", detail="it has more seccomp filters than the supervisor, as what workers start has")
        return Who("none")


@contextlib.contextmanager
def _descriptor(pidfd: int | None, pid: int) -> Iterator[int]:
    """The given pidfd, or one of our own on the number. Raises Gone."""
    if pidfd is not None:
        yield pidfd
        return
    opened = _open(pid)
    try:
        yield opened
    finally:
        os.close(opened)


def _open(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (ProcessLookupError, OSError) as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):  # EINVAL: a number that is no process, such as 0
            raise Gone from None
        raise


class _Processes:
    """The World of a walk: real processes by their pidfds."""

    def __init__(self, table: SpawnTable) -> None:
        self.supervisor = os.getpid()
        self._table = table

    def open(self, pid: int) -> int:
        return _open(pid)

    def close(self, handle: int) -> None:
        os.close(handle)

    def known(self, handle: int) -> Spawn | Own | None:
        return self._table.match(handle)

    def parent(self, handle: int) -> int:
        try:
            return kernel.pidfd_info(handle).ppid
        except ProcessLookupError:
            raise Gone from None
        except OSError as error:
            if error.errno not in _NO_PIDFD_INFO:
                raise Gone from None
            return self._parent_by_number(handle)

    def _parent_by_number(self, handle: int) -> int:
        """Before 6.13: /proc, believed only if the process was alive afterwards, so that the number was still its
        own."""
        pid = kernel.pidfd_pid(handle)
        stat = kernel.stat_of(pid) if pid is not None else None
        if stat is None or kernel.has_ended(handle):
            raise Gone
        return stat.ppid
