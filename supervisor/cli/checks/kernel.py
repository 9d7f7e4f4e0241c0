"""Checks of the kernel: what identity and containment stand on here, and what is done without it where it is
missing."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import socket
import sys
from collections.abc import Iterator

from supervisor import kernel
from supervisor.cli.checks.base import FAIL, OK, WARN, Check
from supervisor.cli.invocation import Invocation

SO_PEERPIDFD = 77
SYS_LANDLOCK_CREATE_RULESET = 444  # the same number on every architecture (5.13)
LANDLOCK_CREATE_RULESET_VERSION = 1
LOWEST_FILES = 4096


def checks(_: Invocation) -> Iterator[Check]:
    """All of them. Away from Linux only that."""
    if sys.platform != "linux":
        yield Check(
            "kernel",
            WARN,
            f"{platform.system()} {platform.release()}",
            "Linux is the platform; this is for development",
        )
        return
    yield Check("kernel", OK, f"Linux {platform.release()}")
    yield _pidfd()
    yield _peer_pidfd()
    yield _landlock()
    yield _seccomp()
    yield _cgroup()
    yield _files()


def _pidfd() -> Check:
    try:
        pidfd = os.pidfd_open(os.getpid())
    except OSError as error:
        return Check(
            "pidfd",
            FAIL,
            str(error.strerror),
            "Linux 5.3 or newer is needed; a container's seccomp profile may forbid it",
        )
    try:
        own = kernel.pidfd_filesystem(pidfd) == kernel.PID_FS_MAGIC
    finally:
        os.close(pidfd)
    found = (
        "yes, each with an inode of its own" if own else "yes, without pidfs: workers are known by pid while unreaped"
    )
    return Check("pidfd", OK, found)


def _peer_pidfd() -> Check:
    left, right = socket.socketpair()
    with left, right:
        try:
            os.close(left.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD))
        except OSError:
            fix = "Linux 6.5 or newer; until then a pid reused within microseconds could be mistaken"
            return Check("SO_PEERPIDFD", WARN, "no, SO_PEERCRED is used", fix)
    return Check("SO_PEERPIDFD", OK, "yes")


def _landlock() -> Check:
    version = landlock_version()
    if version >= 6:
        return Check("landlock", OK, f"version {version}: an agent cannot signal or trace what is outside it")
    found = f"version {version}" if version > 0 else "no"
    return Check(
        "landlock", WARN, found, "Linux 6.12 or newer; until then agents of one uid can signal and trace each other"
    )


def landlock_version() -> int:
    """The ABI of landlock(7); 0 or less where there is none. Asked without entering anything."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    ask = LANDLOCK_CREATE_RULESET_VERSION
    return int(call(SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ask))


def _seccomp() -> Check:
    filters = kernel.seccomp_filters(os.getpid())
    if filters is None:
        return Check(
            "seccomp",
            WARN,
            "the kernel does not count filters",
            "what a dead supervisor left behind cannot be told by its mark",
        )
    return Check("seccomp", OK, f"yes ({filters} filters on this process)")


def _cgroup() -> Check:
    from supervisor.cgroups import own_group

    group = own_group()
    path = f"/sys/fs/cgroup{group}" if group and group != "/" else None
    if path and os.access(f"{path}/cgroup.procs", os.W_OK) and os.access(path, os.W_OK):
        return Check("cgroup", OK, f"may make groups below {group}")
    fix = "under systemd: Delegate=yes; without it limits are sampled and trees killed one process at a time"
    return Check("cgroup", WARN, "none is delegated to this process", fix)


def _files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= LOWEST_FILES
    return Check(
        "open files",
        OK if enough else WARN,
        f"{soft} (at most {hard})",
        f"raise the hard limit to {LOWEST_FILES} or more",
    )
