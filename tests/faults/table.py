"""The other end of `supervisor.crashpoints`: the shared table in which the killer writes its orders.

Owns the memory. One order stands at a time; who obeys it says so in the table before it dies."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from types import TracebackType

from supervisor.crashpoints import (
    ARMED,
    FIRED_AT,
    FIRED_BY,
    HEADER,
    IDLE,
    MAGIC,
    ORDER,
    ORDER_AT,
    PASSES_AT,
    POINTS,
    SIZE,
)

NAME_BYTES = 15
"""What the kernel keeps of a process's name (proc_pid_comm(5))."""


class Table:
    """A table nobody obeys yet. Give `descriptor` to a supervisor as `--crash-points`."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("crash-points", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.truncate(self.descriptor, SIZE)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        self._memory = mmap.mmap(self.descriptor, SIZE)
        self._number = 0
        HEADER.pack_into(self._memory, 0, MAGIC, 0.0)

    def __enter__(self) -> Table:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory.close()
        os.close(self.descriptor)

    def order(self, point: str, action: int, *, skip: int = 0, millis: int = 0, who: str = "") -> None:
        """Let `skip` passes go by, then act, once; `who` is the beginning of the process's name."""
        self._number += 1
        name = who.encode()[:NAME_BYTES]
        values = (self._number, POINTS.index(point), skip, action, millis, name)
        ORDER.pack_into(self._memory, ORDER_AT, IDLE, *values)
        ORDER.pack_into(self._memory, ORDER_AT, ARMED, *values)

    def fired(self) -> int | None:
        """The pid that obeyed the present order; None when nobody did so far."""
        number, pid = FIRED_BY.unpack_from(self._memory, FIRED_AT)
        return pid if number == self._number and self._number else None

    def cancel(self) -> int | None:
        """Take the order back; the pid that obeyed it before, if one did."""
        struct.pack_into("<I", self._memory, ORDER_AT, IDLE)
        return self.fired()

    def step_clock(self, seconds: float) -> None:
        """Put the wall clock of everybody with the table off by this much."""
        HEADER.pack_into(self._memory, 0, MAGIC, seconds)

    def passes(self) -> dict[str, int]:
        """How often each point was passed, nearly: processes that count at once may count once."""
        counts = struct.unpack_from(f"<{len(POINTS)}I", self._memory, PASSES_AT)
        return dict(zip(POINTS, counts, strict=True))
