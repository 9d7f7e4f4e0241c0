"""Descriptors that arrive with a message (SCM_RIGHTS): out of the ancillary data, read, and closed again."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence


def arrived(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors in what recvmsg(2) gave; they are the caller's."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def close_all(fds: Sequence[int]) -> None:
    """Close each of them."""
    for fd in fds:
        os.close(fd)


def read_memfd(fd: int) -> bytes:
    """Everything in a memory file, read by offset because others share its position; closes the descriptor."""
    try:
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)
