"""How a process is known as ours when nothing else ties it to us any more: two marks each worker puts on itself before
it starts anything.

* One seccomp filter more than the supervisor has. Inherited through fork, exec, setsid and setuid, and nobody can take
  it off; but sandboxed programs of other people carry filters too, so by itself it only ever takes rights away.
* Whose: a digest of the state directory, as PEERGATE_STATE in the environment, which a program may clean away, and as
  the limit on POSIX message queue bytes, which survives a clean environment and which nobody lowers by accident
  (getrlimit(2), 64 KiB of 800)."""

from __future__ import annotations

import hashlib
import os
import resource

from supervisor import kernel

STATE_VARIABLE = "PEERGATE_STATE"
"""Holds `state_mark`; the supervisor puts it into the environment of everything it starts."""

_QUEUE_BYTES = 819_200  # the kernel's default for RLIMIT_MSGQUEUE
_SPREAD = 65_536


def state_mark(state_dir: str) -> str:
    """The digest that stands for a state directory, 16 hexadecimal digits."""
    return hashlib.sha256(os.fsencode(os.path.realpath(state_dir))).hexdigest()[:16]


def queue_limit(mark: str) -> int:
    """The message-queue limit that says the same as `mark`. Raises ValueError for something that is no mark."""
    return _QUEUE_BYTES - 1 - int(mark, 16) % _SPREAD


def install(mark: str | None) -> None:
    """Mark the calling process and all it will ever start. `mark` None (a worker started by hand) leaves only the
    filter."""
    kernel.install_allow_all_filter()
    if mark is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    wanted = queue_limit(mark)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        resource.setrlimit(resource.RLIMIT_MSGQUEUE, (wanted, wanted))


def has_more_filters(pid: int, than: int) -> bool:
    """Whether a process carries more seccomp filters than the supervisor does; False when the kernel does not say."""
    filters = kernel.seccomp_filters(pid)
    return filters is not None and filters > than


def is_of_state(pid: int, mark: str) -> bool:
    """Whether a process names our state directory, in its environment or by its message-queue limit."""
    return _in_environment(pid, mark) or _in_limits(pid, mark)


def _in_environment(pid: int, mark: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{STATE_VARIABLE}={mark}".encode() in file.read().split(b"\0")
    except OSError:
        return False  # gone, or not ours to read


def _in_limits(pid: int, mark: str) -> bool:
    try:
        with open(f"/proc/{pid}/limits") as file:
            found = [line.split()[4] for line in file if line.startswith("Max msgqueue size")]
    except OSError:
        return False
    return found == [str(queue_limit(mark))]
