"""Reading what the kernel knows about the process at the other end of a Unix socket. The only I/O in this package.

Facts are those of the connect, not of whoever speaks now; `prepare_listener` makes the kernel tell the sender of every
frame as well. Order matters in `read_peer`: the pidfd is taken first and looked at last, so that /proc was read while
the number still belonged to the process."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct

from gateway.auth.facts import PeerFacts

SO_PEERGROUPS = 59  # Linux 4.13
SO_PEERPIDFD = 77  # Linux 6.5
SO_PASSRIGHTS = 83  # Linux 6.16

_UCRED = struct.Struct("iII")  # pid is signed, uid and gid are not (4294967294 must not read as -2)
_GROUP_BYTES = 1024  # the most that Python's getsockopt takes; longer lists are read from /proc


def prepare_listener(listener: socket.socket) -> None:
    """Have every frame carry its sender's pid, from the first byte on: connections inherit a listener's SO_PASSCRED."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)


def prepare_accepted(sock: socket.socket) -> None:
    """The same for a connection that was made before its listener was prepared (what was sent before the accept carries
    its sender anyway). And nobody may park descriptors in our queue: older kernels do not know that option; there they
    are dropped on arrival."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
    except OSError as error:
        if error.errno not in (errno.ENOPROTOOPT, errno.EINVAL):
            raise


def read_peer(sock: socket.socket) -> PeerFacts:
    """Everything about the peer. The caller closes `pidfd`. Raises OSError when the socket is no longer connected."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    pidfd, legacy, gone = _pidfd_of(sock, pid)
    try:
        status = _read_status(pid) if pid > 0 and not gone else b""
        start = _start_of(pid) if pid > 0 and not gone else 0
        groups = _groups_of(sock, status)
        dead = gone or (pidfd is not None and _has_ended(pidfd))
    except BaseException:
        if pidfd is not None:
            os.close(pidfd)
        raise
    return PeerFacts(pid, uid, gid, groups, pidfd, dead, _numbers(status, b"NSpid"), start, legacy)


def _pidfd_of(sock: socket.socket, pid: int) -> tuple[int | None, bool, bool]:
    """The peer's pidfd, whether it was opened by number, and whether the process is known to be gone."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD), False, False
    except OSError as error:
        if error.errno == errno.ESRCH:
            return None, False, True
        if error.errno == errno.ENODATA:  # the socket has no peer process at all
            return None, False, pid > 0
        # ENOPROTOOPT: a kernel before 6.5. EINVAL: 6.5 to about 6.15 for a peer that was reaped; opening by number
        # tells.
        if error.errno not in (errno.ENOPROTOOPT, errno.EINVAL):
            raise
    if pid <= 0:
        return None, True, False
    try:
        return os.pidfd_open(pid), True, False
    except ProcessLookupError:
        return None, True, True
    except (
        OSError
    ):  # no pidfd_open (before 5.3, or forbidden): the number has to do; the ticket covers what it leaves open
        return None, True, False


def _has_ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def _groups_of(sock: socket.socket, status: bytes) -> frozenset[int]:
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _GROUP_BYTES)
    except OSError as error:
        if error.errno not in (errno.ERANGE, errno.ENOPROTOOPT, errno.ENODATA):
            raise
        return frozenset(_numbers(status, b"Groups") or ())
    return frozenset(struct.unpack(f"{len(data) // 4}I", data))


def _read_status(pid: int) -> bytes:
    try:
        return _read(f"/proc/{pid}/status")
    except OSError:  # hidden (hidepid) or gone: then nothing is known, and `decide` refuses
        return b""


def _start_of(pid: int) -> int:
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return 0
    # proc_pid_stat(5): field 22, counted after the name, which may hold spaces and parentheses.
    fields = text.rpartition(b")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = [os.read(fd, 65536)]
        while chunks[-1]:
            chunks.append(os.read(fd, 65536))
    finally:
        os.close(fd)
    return b"".join(chunks)


def _numbers(status: bytes, name: bytes) -> tuple[int, ...] | None:
    """The numbers of one line of /proc/PID/status, None if it has none. A process's name cannot forge a line: the
    kernel escapes its line ends there."""
    _, found, rest = status.partition(b"\n" + name + b":")
    return tuple(map(int, rest.partition(b"\n")[0].split())) if found else None
