"""What arrives with a message."""

from __future__ import annotations

import array
import os
import socket

import pytest

from gateway.descriptors import arrived, close_all, read_memfd


def test_descriptors_are_found_among_other_ancillary_data():
    rights = array.array("i", [5, 6]).tobytes()
    ancillary = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, b"x" * 12), (socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
    assert arrived(ancillary) == [5, 6]
    assert arrived([(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights + b"\0")]) == [5, 6]
    assert arrived([]) == []


def test_a_memory_file_is_read_whole_wherever_its_position_is_and_closed():
    fd = os.memfd_create("test")
    os.write(fd, b"everything")
    assert read_memfd(fd) == b"everything"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_what_nobody_wants_is_closed():
    fds = [os.memfd_create("one"), os.memfd_create("two")]
    close_all(fds)
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
