"""Networks of our own for tests: two hosts on one cable, in network namespaces; to be root is enough.

Owns them: they are gone when the block that made them is left."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x4000_0000
SECONDS = 20.0
BOX, PHONE, BOX6, PHONE6 = "10.77.0.1", "10.77.0.2", "fd77::1", "fd77::2"
HAS_NETWORKS = os.geteuid() == 0
NEEDS_NETWORKS = "needs user namespaces, or root, for networks of one's own"


class Lan:
    """Two hosts on one cable: `box` (BOX, BOX6), where a system runs, and `phone` (PHONE, PHONE6). Each is the number
    of a process in that network."""

    def __init__(self, box: int, phone: int) -> None:
        self.box = box
        self.phone = phone

    def at(self, host: int) -> list[str]:
        """The words before a command that shall run on a host."""
        return ["nsenter", f"--net=/proc/{host}/ns/net"]

    def on(self, host: int, do: Callable[[], T]) -> T:
        """What `do` returns when its sockets are made on a host; they stay there."""
        got: list[T | BaseException] = []

        def run() -> None:
            try:
                enter_network(host)
                got.append(do())
            except BaseException as error:
                got.append(error)

        thread = threading.Thread(target=run)  # a thread has a network of its own, and this one is not used again
        thread.start()
        thread.join()
        if isinstance(got[0], BaseException):
            raise got[0]
        return got[0]


def enter_network(host: int) -> None:
    """Be in the network of a process, this thread alone. Raises OSError."""
    descriptor = os.open(f"/proc/{host}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


@contextmanager
def two_hosts() -> Iterator[Lan]:
    """A cable with a host at each end, for as long as the block lasts. Needs root."""
    own = _network("self")
    with contextmanager(_sleeper)() as box, contextmanager(_sleeper)() as phone:
        lan = Lan(box, phone)
        deadline = time.monotonic() + SECONDS
        while own in map(_network, (box, phone)):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        _ip(lan, box, "link add near type veth peer name far", "netns", str(phone))
        for host, wire, v4, v6 in ((box, "near", BOX, BOX6), (phone, "far", PHONE, PHONE6)):
            _ip(lan, host, "link set lo up")
            _ip(lan, host, f"addr add {v4}/24 dev {wire}")
            _ip(lan, host, f"addr add {v6}/64 dev {wire} nodad")
            _ip(lan, host, f"link set {wire} up")
        yield lan


def _network(process: int | str) -> Path:
    """Which network a process is in."""
    return Path(f"/proc/{process}/ns/net").readlink()


def _sleeper() -> Iterator[int]:
    with subprocess.Popen(["unshare", "--net", "sleep", "3600"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def _ip(lan: Lan, host: int, words: str, *more: str) -> None:
    subprocess.run([*lan.at(host), "ip", *words.split(), *more], check=True, timeout=20)
