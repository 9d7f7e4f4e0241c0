"""Who owns a directory: one supervisor at a time, by flock(2) on the state directory, its `lock` file and the runtime
directory.

Owns: that exclusion. The kernel releases a lock with its holder's last descriptor, so what the file says is only for
people: a stale text never refuses anybody, and no pid in it is ever signalled. A file that was removed or replaced
frees nothing: the directory is locked too. Children do not inherit the descriptors (CLOEXEC): they end with the
supervisor (PDEATHSIG), and a gateway that lingers is fenced by the database's epoch."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import trio

RETRY_SECONDS = 0.2
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


class Locked(Exception):
    """Somebody else owns the directory; the text names them and says what to do."""


def describe_ourselves() -> dict[str, Any]:
    """What the lock file says of its holder."""
    return {"pid": os.getpid(), "started": time.time(), "command": " ".join([sys.executable, *sys.argv])}


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["started"]))
        return f"pid {int(holder['pid'])}, since {since}: {holder['command']}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process"


def open_state(state_dir: str) -> tuple[int, int]:
    """What is locked of a state directory, as descriptors: its `lock` file, made where there is none, and the
    directory itself. Raises OSError."""
    directory = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
    try:
        return os.open("lock", os.O_RDWR | os.O_CREAT | _FLAGS, 0o600, dir_fd=directory), directory
    except OSError:
        os.close(directory)
        raise


def lock_all(*descriptors: int) -> bool:
    """All or none; False when somebody else has one of them."""
    try:
        for descriptor in descriptors:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        for descriptor in descriptors:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False
    return True


class Lock:
    """The locks of one supervisor; a context manager that gives them back. The directories exist already."""

    def __init__(self, state_dir: str, runtime_dir: str) -> None:
        self._file, self._state = open_state(state_dir)
        self._runtime = os.open(runtime_dir, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
        self._state_dir, self._runtime_dir = state_dir, runtime_dir

    def take_nowait(self) -> None:
        """All or none. Raises Locked."""
        if not lock_all(self._file, self._state):
            raise Locked(
                f"the state directory {self._state_dir} is in use ({_holder(self._file)}). "
                "Stop that one with `peergate stop`, wait for it with --wait, or choose another --state-dir."
            )
        if not os.path.sameopenfile(self._state, self._runtime) and not lock_all(self._runtime):
            for descriptor in (self._file, self._state):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            raise Locked(
                f"the runtime directory {self._runtime_dir} is in use by a system with another state directory. "
                f"Choose another --runtime-dir; {self._runtime_dir}/status.json tells whose it is."
            )
        with contextlib.suppress(OSError):  # on a full disk the file stays empty, and the lock is ours all the same
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(describe_ourselves()).encode(), 0)

    async def take(self, waiting: Callable[[str], None] = lambda why: None) -> bool:
        """Wait until all are ours; True. `waiting` hears every RETRY_SECONDS who has them."""
        while True:
            try:
                self.take_nowait()
            except Locked as error:
                waiting(str(error))
                await trio.sleep(RETRY_SECONDS)
            else:
                return True

    def close(self) -> None:
        """Give them back."""
        for descriptor in (self._file, self._state, self._runtime):
            os.close(descriptor)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
