"""Named places where a process of ours can be made to die, stop or dawdle, for the fault suite; otherwise a call that
does nothing.

Owns: the names, and the table in shared memory by which a test says what is to happen where. The table is a memfd that
whoever starts the supervisor hands it as an open descriptor; our processes have it from there by inheritance alone, and
what they start has not. No environment variable, configuration, message or client can bring it in. Standard library
only: others may import it as they do `messages`."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import struct
import time

POINTS = (
    "gateway.commit.before",
    "gateway.commit.after",
    "gateway.answer.before",
    "gateway.answer.after",
    "gateway.announce.before",
    "gateway.announce.after",
    "gateway.lease.after",
    "gateway.spawn.before",
    "gateway.cron.fire.before",
    "gateway.cron.fire.after",
    "gateway.cron.end.before",
    "gateway.cron.end.after",
    "gateway.cron.call.before",
    "gateway.cron.call.after",
    "worker.emit.before",
    "worker.emit.after",
    "worker.call.before",
    "worker.call.after",
    "worker.finish.before",
    "worker.finish.after",
    "supervisor.assign.before",
    "supervisor.assign.after",
    "supervisor.spawned.before",
    "supervisor.spawned.after",
    "supervisor.exited.before",
    "supervisor.exited.after",
    "zygote.fork.before",
    "zygote.fork.between",
    "zygote.handover.before",
    "zygote.handover.after",
)
"""The first word is the process that passes it. `gateway.commit.*` are the writer thread's, around COMMIT;
`gateway.announce.*` and `gateway.cron.*` stand inside such a transaction (cron obeys a slot, notes a run's end, notes a
call to an address outside); `zygote.fork.between` and `zygote.handover.*` are the intermediate
process's."""

DIE, STOP, DELAY = 1, 2, 3
IDLE, ARMED, FIRED = 0, 1, 2

MAGIC = b"PGCRASH1"
HEADER = struct.Struct("<8s d")
"""Magic, and what is added to the wall clock, in seconds."""
ORDER = struct.Struct("<I I I i I I 16s")
"""State, number of the order, point, how many passes to let go by, action, milliseconds of a delay, and the beginning
of the name of the process meant (proc_pid_comm(5); empty: any)."""
ORDER_AT = HEADER.size
FIRED_AT = ORDER_AT + ORDER.size
FIRED_BY = struct.Struct("<I I")
"""Number of the order last carried out, and by which pid."""
PASSES_AT = FIRED_AT + FIRED_BY.size
SIZE = PASSES_AT + 4 * len(POINTS)

_INDEX = {name: index for index, name in enumerate(POINTS)}


class Table:
    """The shared table as those see it who pass points.

    Two processes that pass at the same instant may both obey one order: each is a real fault, and one of them is
    counted."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def clock_offset(self) -> float:
        """Seconds the wall clock is to be off by."""
        offset: float = HEADER.unpack_from(self._memory)[1]
        return offset

    def passed(self, name: str) -> None:
        """Somebody is at this point: count it, and do what is ordered for it."""
        index = _INDEX[name]
        at = PASSES_AT + 4 * index
        struct.pack_into("<I", self._memory, at, (struct.unpack_from("<I", self._memory, at)[0] + 1) & 0xFFFFFFFF)
        state, number, point, skip, action, millis, who = ORDER.unpack_from(self._memory, ORDER_AT)
        if state != ARMED or point != index or not own_name().startswith(who.rstrip(b"\0")):
            return
        if skip > 0:
            ORDER.pack_into(self._memory, ORDER_AT, state, number, point, skip - 1, action, millis, who)
            return
        FIRED_BY.pack_into(self._memory, FIRED_AT, number, os.getpid())
        ORDER.pack_into(self._memory, ORDER_AT, FIRED, number, point, 0, action, millis, who)
        _obey(action, millis)


_table: Table | None = None
_descriptor: int | None = None


def crashpoint(name: str) -> None:
    """Nothing, unless this process was given a table."""
    if _table is not None:
        _table.passed(name)


def wall_clock() -> float:
    """Seconds since the epoch; a table may have stepped it."""
    return time.time() if _table is None else time.time() + _table.clock_offset()


def attach(descriptor: int) -> None:
    """Use the table behind an inherited descriptor, which becomes ours, from now on. Raises ValueError for anything
    else than such a table."""
    global _descriptor, _table
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)  # only a memfd has any
        memory = mmap.mmap(descriptor, SIZE)
    except (OSError, ValueError) as error:
        raise ValueError(f"descriptor {descriptor} is no table of crash points: {error}") from None
    if memory[: len(MAGIC)] != MAGIC or not seals & fcntl.F_SEAL_SHRINK:
        memory.close()
        raise ValueError(f"descriptor {descriptor} is no table of crash points")
    # Out of the way of the numbers a child is given its channel and output under.
    _table, _descriptor = Table(memory), fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 64)
    os.close(descriptor)


def descriptor() -> int | None:
    """What a process started by exec is to be given; a forked one has the table already."""
    return _descriptor


def own_name() -> bytes:
    """This process's name as the kernel has it."""
    with open("/proc/self/comm", "rb") as file:
        return file.read().strip()


def _obey(action: int, millis: int) -> None:
    if action == DIE:
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()  # in a thread that is not the one to take the signal
    elif action == STOP:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == DELAY:
        time.sleep(millis / 1000)
