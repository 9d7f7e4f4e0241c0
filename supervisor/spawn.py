"""The spawn table: which processes are ours, as whom, and the one ticket each worker may show.

Owns: the truth about identity. A process is in it from its birth until it has been reaped and `remove` was called; so
long its number is pinned and its pidfs inode is its own. Time is an argument (monotonic seconds)."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from supervisor import kernel
from supervisor.channel import Channel
from supervisor.factory import Birth

TICKET_SECONDS = 30.0


@dataclass(eq=False)
class Spawn:
    """One worker process. `inode` is None where pidfds have no inode of their own (Linux before 6.9)."""

    spawn: str
    agent: str
    session: str
    birth: Birth
    inode: int | None
    generation: int
    born_at: float
    ticket: str | None = None
    ticket_expires: float = 0.0

    @property
    def pid(self) -> int:
        return self.birth.pid

    @property
    def pidfd(self) -> int:
        return self.birth.pidfd

    @property
    def start(self) -> int:
        return self.birth.start

    @property
    def channel(self) -> Channel:
        """The lifeline."""
        return self.birth.channel


@dataclass(frozen=True, slots=True)
class Own:
    """A process of the system that is no worker: supervisor, zygote, gateway, spare."""

    kind: str
    pid: int
    inode: int | None


class SpawnTable:
    """All our processes by spawn id, number and inode. `pidfs` is the filesystem type on which inodes count; another
    value than the real one makes the table work as on a kernel before 6.9."""

    def __init__(self, pidfs: int = kernel.PID_FS_MAGIC, random_hex: Callable[[int], str] = secrets.token_hex) -> None:
        self._pidfs = pidfs
        self._random_hex = random_hex
        self._spawns: dict[str, Spawn] = {}
        self._by_pid: dict[int, Spawn | Own] = {}
        self._by_inode: dict[int, Spawn | Own] = {}

    # --- entries

    def add(self, birth: Birth, *, spawn: str, agent: str, session: str, generation: int, now: float) -> Spawn:
        """Bind a birth to an agent's session. A spare stops being one. Raises ValueError for a spawn id that exists."""
        if spawn in self._spawns:
            raise ValueError(f"spawn {spawn} exists")
        entry = Spawn(spawn, agent, session, birth, self._inode(birth.pidfd), generation, born_at=now)
        self._spawns[spawn] = entry
        self._remember(entry)
        return entry

    def own(self, kind: str, pid: int, pidfd: int) -> Own:
        """Register the supervisor, a zygote, a gateway or a spare. The pidfd may be closed afterwards."""
        entry = Own(kind, pid, self._inode(pidfd))
        self._remember(entry)
        return entry

    def remove(self, spawn: str) -> Spawn | None:
        """Forget a worker that has been reaped; its ends stay the caller's to close."""
        entry = self._spawns.pop(spawn, None)
        if entry is not None:
            self._forget(entry)
        return entry

    def disown(self, pid: int) -> None:
        """Forget a supervisor, zygote, gateway or spare that has been reaped."""
        entry = self._by_pid.get(pid)
        if isinstance(entry, Own):
            self._forget(entry)

    def get(self, spawn: str) -> Spawn | None:
        return self._spawns.get(spawn)

    def __iter__(self) -> Iterator[Spawn]:
        return iter(list(self._spawns.values()))

    def __len__(self) -> int:
        return len(self._spawns)

    def of_agent(self, agent: str) -> list[Spawn]:
        return [entry for entry in self._spawns.values() if entry.agent == agent]

    def known_pids(self) -> set[int]:
        """Every number of ours that is pinned; a sweep leaves these alone."""
        return set(self._by_pid)

    # --- who is it

    def match(self, pidfd: int) -> Spawn | Own | None:
        """The entry this pidfd stands for; None for a stranger, and for a process that has been reaped."""
        inode = self._inode(pidfd)
        if inode is not None:
            return self._by_inode.get(inode)
        # Before 6.9: the pidfd's number counts, for it names a process that is not reaped, and so do ours.
        pid = kernel.pidfd_pid(pidfd)
        return self._by_pid.get(pid) if pid is not None else None

    # --- tickets

    def mint(self, entry: Spawn, now: float) -> str:
        """A fresh ticket for a worker; an earlier one is void."""
        entry.ticket = self._random_hex(32)
        entry.ticket_expires = now + TICKET_SECONDS
        return entry.ticket

    def claim(self, spawn: str, ticket: str, now: float) -> tuple[bool, str]:
        """Whether this is the ticket of that worker, and if not, why. It is burned either way."""
        entry = self._spawns.get(spawn)
        if entry is None:
            return False, "the worker has ended"
        held, entry.ticket = entry.ticket, None
        if held is None:
            return False, "it has no unused ticket"
        if not hmac.compare_digest(held.encode(), ticket.encode(errors="replace")):
            return False, "wrong ticket"
        if now >= entry.ticket_expires:
            return False, f"the ticket is older than {TICKET_SECONDS:g} seconds"
        return True, ""

    # --- inside

    def _inode(self, pidfd: int) -> int | None:
        return os.fstat(pidfd).st_ino if kernel.pidfd_filesystem(pidfd) == self._pidfs else None

    def _remember(self, entry: Spawn | Own) -> None:
        self._by_pid[entry.pid] = entry
        if entry.inode is not None:
            self._by_inode[entry.inode] = entry

    def _forget(self, entry: Spawn | Own) -> None:
        if self._by_pid.get(entry.pid) is entry:
            del self._by_pid[entry.pid]
        if entry.inode is not None and self._by_inode.get(entry.inode) is entry:
            del self._by_inode[entry.inode]
