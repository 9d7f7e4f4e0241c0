"""Ending everything this process started.

Owns: the sweep, and a descriptor set aside for it. The worker is a subreaper, so whatever its tools leave behind
becomes its child. Only children are ever signalled: until we reap one its pid cannot name anybody else, and killing it
hands its own children to us for the next round."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import trio

ROUND_SECONDS = 0.002
SWEEP_SECONDS = 3.0
"""A tree that forks faster than this is the supervisor's business: it kills the worker with all that is below."""


_aside: list[int] = []


def set_aside() -> None:
    """Hold a descriptor back, unless one is held: an agent that has used up all others has children all the same."""
    if not _aside:
        _aside.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def children(of: int | str = "self") -> list[int]:
    """Pids of this process' children, or another's, zombies included. Raises OSError without a descriptor to look
    with."""
    try:
        return _children(of)
    except OSError as error:
        if error.errno != errno.EMFILE or not _aside:
            raise
    os.close(_aside.pop())
    try:
        return _children(of)
    finally:
        with suppress(OSError):  # a thread of the agent's was quicker
            set_aside()


def _children(of: int | str) -> list[int]:
    found: list[int] = []
    tasks: list[Path] = []
    with suppress(FileNotFoundError, ProcessLookupError):  # the other may have ended
        tasks += Path(f"/proc/{of}/task").iterdir()
    for task in tasks:
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread may end while we look
            found += map(int, (task / "children").read_bytes().split())
    return found


def descendants() -> set[int]:
    """Pids of everything below this process."""
    found: set[int] = set()
    fresh = children()
    while fresh:
        found.update(fresh)
        fresh = [pid for parent in fresh for pid in children(parent) if pid not in found]
    return found


def kill_round(spare: Iterable[int] = ()) -> list[int]:
    """SIGKILL every child but those to `spare`, reap those already dead, and return the ones that were there."""
    targets = [pid for pid in children() if pid not in set(spare)]
    for pid in targets:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return targets


async def sweep(spare: Iterable[int] = ()) -> list[int]:
    """Kill and reap until no child is left but those to `spare`. Returns what would not die within SWEEP_SECONDS."""
    deadline = time.monotonic() + SWEEP_SECONDS
    # The kernel tells nobody when an orphan becomes ours, so this has to look again.
    while (left := kill_round(spare)) and time.monotonic() < deadline:  # noqa: ASYNC110
        await trio.sleep(ROUND_SECONDS)
    return left


def sweep_now() -> None:
    """The same without an event loop, for a process about to exit."""
    deadline = time.monotonic() + SWEEP_SECONDS
    while kill_round() and time.monotonic() < deadline:
        time.sleep(ROUND_SECONDS)
