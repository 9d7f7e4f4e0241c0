"""Kernel calls against what /proc says of real processes, this one included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from supervisor import kernel


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "300"])
    pidfd = os.pidfd_open(process.pid)
    yield process.pid, pidfd
    os.close(pidfd)
    process.kill()
    process.wait()


def run(code: str) -> str:
    command = [sys.executable, "-I", "-c", "import os, signal; from supervisor import kernel\n" + code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_pidfd_tells_number_parent_and_owner(sleeper):
    pid, pidfd = sleeper
    info = kernel.pidfd_info(pidfd)
    assert (info.pid, info.ppid, info.ruid, info.euid) == (pid, os.getpid(), os.getuid(), os.geteuid())
    assert kernel.pidfd_pid(pidfd) == pid
    assert kernel.pidfd_filesystem(pidfd) == kernel.PID_FS_MAGIC


def test_an_ended_process_is_known_by_its_pidfd_before_and_after_it_is_reaped():
    process = subprocess.Popen(["sleep", "300"])
    pidfd = os.pidfd_open(process.pid)
    assert not kernel.has_ended(pidfd)
    process.kill()
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
    assert kernel.has_ended(pidfd)
    assert kernel.pidfd_pid(pidfd) == process.pid, "not reaped: the number is still its own"
    process.wait()
    assert kernel.has_ended(pidfd)
    assert kernel.pidfd_pid(pidfd) is None
    with pytest.raises(ProcessLookupError):
        kernel.pidfd_info(pidfd)
    os.close(pidfd)


def test_a_descriptor_that_is_no_pidfd_is_an_error():
    with Path(os.devnull).open() as file:
        with pytest.raises(OSError, match=r"ioctl|appropriate"):
            kernel.pidfd_info(file.fileno())
        assert kernel.pidfd_pid(file.fileno()) is None
        assert kernel.pidfd_filesystem(file.fileno()) != kernel.PID_FS_MAGIC


def test_stat_is_read_past_a_command_name_made_to_confuse():
    name = "a) S 1 (b"
    code = f"kernel.set_title({name!r}); print(os.getpid(), flush=True); input()"
    command = [sys.executable, "-I", "-c", "import os; from supervisor import kernel\n" + code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        stat = kernel.stat_of(pid)
        assert stat is not None
        assert stat.ppid == os.getpid()
        assert stat.start == kernel.start_of(pid) > 0
        process.communicate("\n")


def test_what_is_gone_reads_as_nothing():
    process = subprocess.Popen(["true"])
    process.wait()
    pid = process.pid
    assert (kernel.stat_of(pid), kernel.start_of(pid)) == (None, 0)
    assert kernel.seccomp_filters(pid) is None
    assert kernel.children_of(pid) == []


def test_children_of_this_process(sleeper):
    assert sleeper[0] in kernel.children_of(os.getpid())
    assert sleeper[0] in kernel.all_pids()


def test_a_filter_is_counted_and_needs_no_privilege():
    code = """
os.setresuid(65533, 65533, 65533)
before = kernel.seccomp_filters(os.getpid())
kernel.forbid_new_privileges()
print(kernel.install_allow_all_filter(), kernel.seccomp_filters(os.getpid()) - before)
"""
    assert run(code) == "True 1"


def test_in_a_signal_scope_only_what_is_inside_can_be_signalled():
    code = """
outside = os.getppid()
kernel.forbid_new_privileges()
print(kernel.enter_signal_scope())
child = os.fork()
if child == 0:
    signal.pause()
os.kill(child, signal.SIGKILL)
print(os.waitpid(child, 0)[1])
try:
    os.kill(outside, 0)
except PermissionError:
    print("refused")
print(open("/etc/hostname").read() != "")
"""
    assert run(code).split() == ["True", str(int(signal.SIGKILL)), "refused", "True"]


def test_threads_share_descriptors_and_other_processes_do_not(sleeper):
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        entered.set()
        leave.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait()
    assert thread.native_id is not None
    assert kernel.share_files(os.getpid(), thread.native_id)
    assert not kernel.share_files(os.getpid(), sleeper[0])
    leave.set()
    thread.join()


def test_threads_of_the_kernel_are_no_processes_of_anybody():
    found = kernel.kernel_threads()
    assert not found & {1, os.getpid(), os.getppid()}
    assert all(Path(f"/proc/{pid}/cmdline").read_bytes() == b"" for pid in list(found)[:20])
