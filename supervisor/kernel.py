"""The few kernel calls Python does not offer, and the few lines of /proc we believe: one thin function each, no policy.

Every function names the kernel that introduced what it uses; a caller decides what an older kernel means. Errors are
OSError with the kernel's errno; a process that is gone is ProcessLookupError, or None where the doc says so."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import struct
from dataclasses import dataclass
from functools import cache

PID_FS_MAGIC = 0x50494446
"""statfs type of a pidfd since Linux 6.9; only there is a pidfd's inode number the identity of its process
(pidfd_open(2))."""

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_SECCOMP = 22
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

# Added to every architecture under the same number (Linux 5.13, landlock(7)).
_SYS_LANDLOCK_CREATE_RULESET = 444
_SYS_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_SCOPE_SIGNAL = 2
_SYS_KCMP = {"x86_64": 312, "aarch64": 272}.get(os.uname().machine)
_KCMP_FILES = 2
_PF_KTHREAD = 0x00200000

# _IOWR(PIDFS_IOCTL_MAGIC 0xFF, 11, 64 bytes): Linux 6.13, include/uapi/linux/pidfd.h.
_PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
_PIDFD_INFO = struct.Struct("=QQ11Ii")
_PIDFD_INFO_PID, _PIDFD_INFO_CREDS, _PIDFD_INFO_CGROUPID = 1, 2, 4


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _prctl(option: int, *arguments: int | ctypes.c_void_p) -> int:
    padded = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in (*arguments, 0, 0, 0, 0)][:4]
    return _checked(_libc().prctl(ctypes.c_int(option), *padded))


def is_shortage(error: OSError) -> bool:
    """Whether we, or everybody, have run out of descriptors or memory: what failed may be done a moment later."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


# --- the calling process ----------------------------------------------------------------------------------------------


def die_with_parent(signal_number: int) -> None:
    """PR_SET_PDEATHSIG (2.1.57): the signal we get when the *thread* that forked us ends. fork, and setuid, clear
    it."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def become_subreaper(yes: bool = True) -> None:
    """PR_SET_CHILD_SUBREAPER (3.4): orphans below us become our children. Not inherited."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(yes))


def forbid_new_privileges() -> None:
    """PR_SET_NO_NEW_PRIVS (3.5): no setuid program helps us or our children any more. Cannot be undone."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def become_undumpable() -> None:
    """PR_SET_DUMPABLE 0 (2.3.20): same-uid processes lose ptrace, mem, environ, fd and pidfd_getfd on us. exec undoes
    it."""
    _prctl(_PR_SET_DUMPABLE, 0)


def set_title(name: str) -> None:
    """PR_SET_NAME (2.6.9): what ps shows as the command; cut to 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode(errors="replace")[:15])
    _prctl(_PR_SET_NAME, ctypes.cast(buffer, ctypes.c_void_p))


def enter_signal_scope() -> bool:
    """Enter a Landlock domain whose only rule is LANDLOCK_SCOPE_SIGNAL (ABI 6, Linux 6.12): we and our children can
    signal, trace and read the memory of nobody outside. No filesystem right is handled, for that would break
    bubblewrap.

    Needs no_new_privs or CAP_SYS_ADMIN. False where the kernel has no such domain."""
    call = _libc().syscall
    call.restype = ctypes.c_long
    abi = call(_SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_CREATE_RULESET_VERSION)
    if abi < 6:
        return False
    attributes = ctypes.create_string_buffer(struct.pack("=QQQ", 0, 0, _LANDLOCK_SCOPE_SIGNAL), 24)
    ruleset = _checked(call(_SYS_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(24), 0))
    try:
        _checked(call(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def install_allow_all_filter() -> bool:
    """One seccomp filter that allows everything (3.5, seccomp(2)): it only raises `Seccomp_filters`, which every
    descendant inherits and none can lower. Needs no_new_privs or CAP_SYS_ADMIN. False where the kernel was built
    without filters."""
    allow = ctypes.create_string_buffer(
        struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000), 8
    )  # BPF_RET | BPF_K, SECCOMP_RET_ALLOW
    program = ctypes.create_string_buffer(struct.pack("@HP", 1, ctypes.addressof(allow)))
    try:
        _prctl(_PR_SET_SECCOMP, 2, ctypes.cast(program, ctypes.c_void_p))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


# --- processes by descriptor ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PidfdInfo:
    """What PIDFD_GET_INFO says, in our own PID namespace."""

    pid: int
    ppid: int
    ruid: int
    euid: int
    cgroup: int


def pidfd_info(pidfd: int) -> PidfdInfo:
    """PIDFD_GET_INFO (6.13). Raises ProcessLookupError when the process has been reaped; OSError ENOTTY or EINVAL on an
    older kernel, EREMOTE for a process outside our PID namespace."""
    wanted = _PIDFD_INFO_PID | _PIDFD_INFO_CREDS | _PIDFD_INFO_CGROUPID
    buffer = bytearray(_PIDFD_INFO.pack(wanted, *[0] * 13))
    fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    _, cgroup, pid, _, ppid, ruid, _, euid, *_ = _PIDFD_INFO.unpack(buffer)
    return PidfdInfo(pid=pid, ppid=ppid, ruid=ruid, euid=euid, cgroup=cgroup)


def pidfd_filesystem(pidfd: int) -> int:
    """fstatfs(2) `f_type`: PID_FS_MAGIC since Linux 6.9, the one of all anonymous inodes before."""
    buffer = ctypes.create_string_buffer(256)
    _checked(_libc().fstatfs(pidfd, buffer))
    return ctypes.c_long.from_buffer(buffer).value


def pidfd_pid(pidfd: int) -> int | None:
    """The pid a pidfd stands for, from fdinfo (5.3); None when the process has been reaped or lies outside our
    namespace."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        for line in file:
            if line.startswith("Pid:"):
                pid = int(line.split()[1])
                return pid if pid > 0 else None
    return None


def has_ended(pidfd: int) -> bool:
    """Whether the process has exited, reaped or not (a pidfd becomes readable, 5.3)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


# --- processes by number: only for a pid that something pins, or with the pidfd checked afterwards --------------------


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of /proc/PID/stat that we use; `start` is field 22, in clock ticks since boot."""

    state: str
    ppid: int
    start: int


def _read(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def stat_of(pid: int) -> Stat | None:
    """/proc/PID/stat; None when the process is gone."""
    text = _read(f"/proc/{pid}/stat")
    if text is None:
        return None
    fields = text.rpartition(")")[2].split()  # the command name before it may hold spaces and parentheses
    return Stat(state=fields[0], ppid=int(fields[1]), start=int(fields[19]))


def start_of(pid: int) -> int:
    """Start time in clock ticks since boot; 0 when the process is gone."""
    stat = stat_of(pid)
    return stat.start if stat else 0


def _status_field(pid: int, name: str) -> str | None:
    text = _read(f"/proc/{pid}/status")
    for line in (text or "").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return None


def seccomp_filters(pid: int) -> int | None:
    """How many seccomp filters a process has (`Seccomp_filters`, 5.9); None when it is gone or the kernel does not
    say."""
    value = _status_field(pid, "Seccomp_filters")
    return int(value) if value is not None else None


def children_of(pid: int) -> list[int]:
    """Children of all threads of a process (/proc/PID/task/*/children, 3.5, proc(5)); empty when it is gone.

    Exact only for children that do not come or go meanwhile: stop them, or look again."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []
    texts = (_read(f"/proc/{pid}/task/{thread}/children") for thread in threads)
    return [int(child) for text in texts if text for child in text.split()]


def all_pids() -> list[int]:
    """Every process number in our PID namespace's /proc."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def share_files(one: int, other: int) -> bool:
    """Whether two threads have one table of descriptors (kcmp(2), 3.5). False too where the kernel does not say."""
    return _SYS_KCMP is not None and _libc().syscall(_SYS_KCMP, one, other, _KCMP_FILES, 0, 0) == 0


def kernel_threads() -> set[int]:
    """The numbers of threads of the kernel, which have no descriptors; empty inside a PID namespace, which has none."""
    text = _read("/proc/2/stat")
    if text is None or not int(text.rpartition(")")[2].split()[6]) & _PF_KTHREAD:
        return set()
    return {2, *children_of(2)}


def thread_count() -> int:
    """Threads of this process, as the kernel counts them (C libraries start some that Python does not know)."""
    return len(os.listdir("/proc/self/task"))
