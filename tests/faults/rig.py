"""A system to be tormented: restarted when its supervisor dies, with a table of crash points, on a disk that can be
filled; and what the operating system says of its processes.

Owns: finding processes. They are found by their parent and by the marks the system puts on them, never by name
alone."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.marks import STATE_VARIABLE, state_mark
from tests.faults.table import Table
from tests.support.system import System

START_SECONDS = 60.0
DISK_BYTES = 64 * 1024 * 1024
PIDFD_GETFD = 438
"""Its number is the same on every architecture (pidfd_getfd(2))."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be mistaken for a later one with its number."""

    pid: int
    start: int
    name: str
    parent: int

    def send(self, sig: int) -> bool:
        """Whether it was there to be sent the signal."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if process(self.pid) is None or _start(self.pid) != self.start:
                return False
            signal.pidfd_send_signal(pidfd, sig)
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)
        return True


class Rig(System):
    """A system that outlives its supervisors. `on_disk`: its state directory is a small file system of its own, which
    only root can make."""

    def __init__(self, config: Mapping[str, Any], table: Table | None = None, *, on_disk: bool = False) -> None:
        super().__init__(config)
        self.table = table
        self.mounted = on_disk and self._mount()
        self.starts = 0
        self.mark = state_mark(str(self.state))

    def start(self, *arguments: str) -> Rig:
        """Start and wait until ready; as often as needed. Raises AssertionError with its log if it is not."""
        reader, writer = os.pipe()
        command = [sys.executable, "-I", "-m", "supervisor", "--runtime-dir", str(self.runtime)]
        command += ["--state-dir", str(self.state), "--config", str(self.config), "--ready-fd", str(writer)]
        handed = [writer]
        if self.table is not None:
            command += ["--crash-points", str(self.table.descriptor)]
            handed.append(self.table.descriptor)
        with self.errors.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *arguments], env=self.environment, pass_fds=handed, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        os.close(writer)
        self.starts += 1
        if not self.says_ready(reader, START_SECONDS) and (self.process.returncode or 0) >= 0:
            raise AssertionError(f"not ready (exit {self.process.returncode}):\n{self.log()}")
        return self  # or killed as it started: whoever did that starts it again

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """End it and return its exit code; stopped processes are continued first."""
        for one in self.tree():
            one.send(signal.SIGCONT)
        return super().stop(sig)

    def remove(self) -> None:
        """End it and take its directory away: in order, because what a killed supervisor leaves is ended by the next
        one, and there is none; one that does not end is killed."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(AssertionError):
                self.stop()
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.state)], check=False)
        super().remove()

    # --- processes

    def tree(self) -> list[Process]:
        """The supervisor's descendants now, parents first; empty without a supervisor."""
        if self.process is None or self.process.poll() is not None:
            return []
        return descendants(self.process.pid)

    def children(self, prefix: str) -> list[Process]:
        """The supervisor's own children whose name begins so."""
        return [one for one in self.tree() if one.parent == self.pid and one.name.startswith(prefix)]

    def process_itself(self) -> Process:
        """The supervisor, dead or alive."""
        return process(self.pid) or Process(self.pid, -1, "", 0)

    def spares(self) -> list[Process]:
        """Processes kept ready, nobody yet."""
        zygote = {one.pid for one in self.zygote()}
        return [one for one in self.children("pg-zygote") if one.pid not in zygote] if zygote else []

    def zygote(self) -> list[Process]:
        """The zygote, as the supervisor's own status file names it: its children keep its name until they are
        somebody."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            pid = json.loads((self.runtime / "status.json").read_text())["zygote"]["pid"]
            return [one for one in self.children("pg-zygote") if one.pid == pid]
        return []

    def tools(self) -> list[Process]:
        """What workers started."""
        tree = self.tree()
        workers = {one.pid for one in tree if one.parent == self.pid and one.name.startswith("pg:")}
        below = set(workers)
        found = []
        for one in tree:
            if one.parent in below and one.pid not in workers:
                below.add(one.pid)
                found.append(one)
        return found

    def marked(self) -> list[Process]:
        """Every process that carries this system's mark, whoever its parent is."""
        needle = f"{STATE_VARIABLE}={self.mark}".encode()
        place = os.fsencode(str(self.directory))
        found = []
        for pid in _pids():
            if pid != os.getpid() and (needle in _read(pid, "environ") or place in _read(pid, "cmdline")):
                one = process(pid)
                if one is not None:
                    found.append(one)
        return found

    def descriptors(self) -> dict[str, int]:
        """Open descriptors of the supervisor, the zygote and the gateway."""
        ours = {"zygote": self.zygote(), "gateway": self.children("pg-gateway")}
        counts = {name: sum(descriptors_of(one.pid) for one in found) for name, found in ours.items()}
        return {"supervisor": descriptors_of(self.pid), **counts}

    # --- the disk

    def _mount(self) -> bool:
        if os.geteuid() != 0:
            return False
        self.state.mkdir(mode=0o700)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(self.state)]
        return subprocess.run(mount, check=False, capture_output=True).returncode == 0

    def fill_disk(self) -> None:
        """Use up every free byte of the state directory's file system. Only where it is our own."""
        assert self.mounted, "not on a disk of its own"
        with (self.state / "filler").open("wb", buffering=0) as file:
            block = bytes(256 * 1024)
            while block:
                try:
                    file.write(block)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    block = block[: len(block) // 2]

    def empty_disk(self) -> None:
        """Give the room back."""
        with contextlib.suppress(FileNotFoundError):
            (self.state / "filler").unlink()

    def copy_database(self, to: Path) -> None:
        """The database's files as a power cut at this instant would leave them: the only writer stands still meanwhile,
        wherever it is."""
        to.mkdir(mode=0o700)
        stopped = [one for one in self.children("pg-gateway") if one.send(signal.SIGSTOP)]
        try:
            for name in ("peergate.db", "peergate.db-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(self.state / name, to / name)
        finally:
            for one in stopped:
                one.send(signal.SIGCONT)


def cut_connection(victim: Process) -> bool:
    """Shut down a Unix connection of another process as if the kernel had lost it; False where that is not allowed or
    it has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        pidfd = os.pidfd_open(victim.pid)
    except OSError:
        return False
    try:
        for number in _socket_numbers(victim.pid):
            taken = libc.syscall(PIDFD_GETFD, pidfd, number, 0)
            if taken < 0:
                continue
            with socket.socket(fileno=taken) as sock:
                connected = sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM
                with contextlib.suppress(OSError):
                    if connected and sock.getpeername() is not None and _is_door(sock):
                        sock.shutdown(socket.SHUT_RDWR)
                        return True
    finally:
        os.close(pidfd)
    return False


def _is_door(sock: socket.socket) -> bool:
    return any("agents.sock" in str(name) for name in (sock.getpeername(), sock.getsockname()))


def _socket_numbers(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(link.readlink()).startswith("socket:"):
                    found.append(int(link.name))
    return found


def descendants(pid: int) -> list[Process]:
    """Everything below a process, parents before children."""
    found: list[Process] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for child in _children(parent):
            one = process(child)
            if one is not None and one.parent == parent:
                found.append(one)
                waiting.append(child)
    return found


def process(pid: int) -> Process | None:
    """A process as it is now; None when there is none, or a dead one nobody has reaped."""
    stat = _read(pid, "stat").decode(errors="replace")
    if not stat:
        return None
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]), name, int(fields[1]))


def wait_gone(processes: list[Process], seconds: float) -> list[Process]:
    """Those of them that are still there when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        left = [one for one in processes if (now := process(one.pid)) is not None and now.start == one.start]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def _start(pid: int) -> int:
    one = process(pid)
    return one.start if one is not None else -1


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def descriptors_of(pid: int) -> int:
    """How many descriptors a process has open; 0 for one that is gone."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
