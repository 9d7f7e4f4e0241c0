"""What a new worker or gateway process does between its birth and its target's first line: the child sequence.

Owns: the order. Each step stands where it does for a reason measured on Linux 6.18; moving one breaks it silently: a
new session before its CPU weight; our descriptors before the others are closed; the parent-death signal after the
reparent, and again after setuid, which clears it; limits and marks before the first line of foreign code.

`python -I -m supervisor.child --kind K --fd N --supervisor PID --target M:F` is the same sequence in a fresh
interpreter."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import fcntl
import importlib
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from supervisor import kernel, marks
from supervisor.channel import receive_blocking, send_blocking
from supervisor.crashpoints import attach
from supervisor.messages import Assign, Born
from supervisor.outfit import rlimits, worker_environment

CHANNEL_FD = 3
"""Where a child finds its lifeline or control channel."""
WORKER_NICE = 10
"""Of a worker's whole session against others: eight busy workers slow a fresh command fivefold without it, not at all
with it."""
REPARENT_SECONDS = 30.0
CRASHED = 70
"""EX_SOFTWARE: the target raised; its traceback is on standard error."""

_SIGNALS = tuple(number for number in range(1, 32) if number not in (signal.SIGKILL, signal.SIGSTOP))
"""Not the real-time ones, which nobody here touches: resetting those too took a millisecond of every birth."""
_IGNORED = (int(signal.SIGPIPE), int(signal.SIGXFSZ))
"""As in every Python: errors, not deaths; subprocess restores them for the programs it starts."""


@dataclass(frozen=True, slots=True)
class Birthplace:
    """What a child knows of how it came to be. `output` None: standard output is already the right one (exec).
    `parent` is the intermediate process that forked it; None: the supervisor itself did."""

    kind: str
    supervisor: int
    target: str
    channel: int
    output: int | None = None
    parent: int | None = None


def find_target(name: str) -> Callable[..., object]:
    """The callable `module:function`. Raises ImportError, AttributeError, ValueError."""
    module, separator, function = name.partition(":")
    if not separator:
        raise ValueError(f"a target is written module:function, not {name!r}")
    target: Callable[..., object] = getattr(importlib.import_module(module), function)
    return target


def rehearse(name: str) -> None:
    """Run the `rehearse` function beside a target, where there is one: code that ran once runs faster, and memory that
    was touched is there."""
    rehearsal = getattr(importlib.import_module(name.partition(":")[0]), "rehearse", None)
    if rehearsal is not None:
        rehearsal()


def become(birthplace: Birthplace) -> NoReturn:
    """Go through the child sequence, call the target, leave the process with its exit status. Never returns, and runs
    no exit handler or finaliser, which would be the zygote's."""
    code = CRASHED
    try:
        weight = _separate(birthplace)
        _tie_to(birthplace.supervisor, birthplace.parent)
        code = _be_worker(birthplace, weight) if birthplace.kind == "worker" else _be_gateway(birthplace)
    except BaseException:  # whatever it is, it must not unwind into the zygote's own frames
        traceback.print_exc()
    _leave(code)


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more, or the target closed it
            stream.flush()
    os._exit(code)


# --- steps both kinds share -------------------------------------------------------------------------------------------


def _separate(birthplace: Birthplace) -> int | None:
    """Own session, CPU weight, default signals, own standard streams, and no other descriptor than the channel."""
    os.setsid()
    weight = _weigh_down() if birthplace.kind == "worker" else None
    _reset_signals()
    _arrange_descriptors(birthplace.channel, birthplace.output, keep=weight)
    os.chdir("/")
    return weight


def _reset_signals() -> None:
    """As a fresh Python has them, without its SIGINT handler: a worker has no terminal, and Trio adds its own where it
    wants."""
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN if number in _IGNORED else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _arrange_descriptors(channel: int, output: int | None, keep: int | None) -> None:
    """0 is /dev/null, 1 and 2 the output, CHANNEL_FD the channel, close-on-exec; `keep` stays where it is."""
    channel = fcntl.fcntl(channel, fcntl.F_DUPFD_CLOEXEC, 64)  # out of the way of the numbers we are about to fill
    if output is not None:
        output = fcntl.fcntl(output, fcntl.F_DUPFD_CLOEXEC, 64)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
    os.dup2(channel, CHANNEL_FD, inheritable=False)
    if keep is not None and keep > CHANNEL_FD:
        os.closerange(CHANNEL_FD + 1, keep)
        os.closerange(keep + 1, 2**31 - 1)
    else:
        os.closerange(CHANNEL_FD + 1, 2**31 - 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a line is a log record: send it when it is said


def _tie_to(supervisor: int, parent: int | None) -> None:
    """Wait until the supervisor is our parent, then die with it.

    Armed before the reparent, the intermediate process's exit would kill us. Without a supervisor there is nothing to
    do."""
    deadline = time.monotonic() + REPARENT_SECONDS
    pause = 0.0002
    while (found := os.getppid()) != supervisor:
        # Whoever else adopted us: both have died, perhaps before we looked for the first time.
        if found != parent or time.monotonic() > deadline:
            _leave(CRASHED)
        time.sleep(pause)
        pause = min(0.02, pause * 1.2)
    _die_with(supervisor)


def _die_with(supervisor: int) -> None:
    kernel.die_with_parent(signal.SIGKILL)
    if os.getppid() != supervisor:  # it died before the signal was armed
        _leave(CRASHED)


def _run(target: Callable[[], object]) -> int:
    """Call a target; its exit status: what it raised SystemExit with, what it returned if that is a number, else 0."""
    try:
        result = target()
    except SystemExit as leaving:
        result = leaving.code
        if isinstance(result, str):
            print(result, file=sys.stderr)
            return 1
    return result & 0xFF if isinstance(result, int) else 0


# --- the gateway ------------------------------------------------------------------------------------------------------


def _be_gateway(birthplace: Birthplace) -> int:
    kernel.set_title("pg-gateway")
    kernel.forbid_new_privileges()
    faulthandler.enable()
    kernel.become_undumpable()
    target = find_target(birthplace.target)
    return _run(lambda: target(socket.socket(fileno=CHANNEL_FD)))


# --- a worker ---------------------------------------------------------------------------------------------------------


def _be_worker(birthplace: Birthplace, weight: int | None) -> int:
    kernel.become_subreaper()
    kernel.forbid_new_privileges()
    faulthandler.enable()  # SIGABRT, with which the supervisor ends a stuck worker, prints every thread first
    kernel.become_undumpable()
    lifeline = socket.socket(fileno=CHANNEL_FD)
    if not select.select([lifeline], [], [], 0)[0]:
        rehearse(birthplace.target)  # a spare: nobody waits for it yet
    try:
        send_blocking(lifeline, Born(pid=os.getpid()))
        received = receive_blocking(lifeline)
    except BrokenPipeError:
        received = None
    if received is None:
        return 0  # a spare nobody needs any more
    assignment = received[0]
    if not isinstance(assignment, Assign):
        raise ValueError(f"the first message must be Assign, not {type(assignment).__name__}")
    _confine(assignment, birthplace.supervisor)
    _dress(assignment)
    if weight is not None:
        threading.Thread(target=_weigh_down_later, args=(weight,), daemon=True).start()
    target = find_target(birthplace.target)
    return _run(lambda: target(lifeline, dict(vars(assignment))))


def _confine(assignment: Assign, supervisor: int) -> None:
    """Limits, user, and everything setuid undoes; then the two walls that need no privilege."""
    kernel.set_title(f"pg:{assignment.agent}")
    for limit, value in rlimits(assignment.limits, own_uid=assignment.uid is not None).items():
        _limit(limit, *value)
    if assignment.uid is not None:
        gid = assignment.uid if assignment.gid is None else assignment.gid
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(assignment.uid, assignment.uid, assignment.uid)
    _die_with(supervisor)
    kernel.become_undumpable()
    kernel.enter_signal_scope()
    marks.install(os.environ.get(marks.STATE_VARIABLE))


def _limit(which: int, soft: int, hard: int) -> None:
    """Set a limit, never above the one we were given: raising it is for root, and is not what a limit is for."""
    _, given = resource.getrlimit(which)
    if given != resource.RLIM_INFINITY:
        soft, hard = min(soft, given), min(hard, given)
    resource.setrlimit(which, (soft, hard))


def _dress(assignment: Assign) -> None:
    """The worker's environment, built from nothing."""
    environment = worker_environment(assignment, os.environ)
    os.environ.clear()
    os.environ.update(environment)


def _weigh_down() -> int | None:
    """Lower the session's CPU weight. When the kernel says later (EAGAIN), the open file, for later: once we are
    non-dumpable it could not be opened any more."""
    try:
        file = os.open("/proc/self/autogroup", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return None  # a kernel without autogroups
    try:
        os.write(file, str(WORKER_NICE).encode())
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return file
    os.close(file)
    return None


def _weigh_down_later(file: int) -> None:
    """Unprivileged processes share ten such writes a second (sched(7)); a burst of births needs a few attempts."""
    for attempt in range(20):
        time.sleep(0.1 + 0.013 * (attempt + os.getpid() % 7))
        try:
            os.write(file, str(WORKER_NICE).encode())
        except BlockingIOError:
            continue
        except OSError:
            break
        break
    os.close(file)


def _parse(arguments: list[str]) -> Birthplace:
    values = dict(zip(arguments[::2], arguments[1::2], strict=True))
    if "--crash-points" in values:
        attach(int(values["--crash-points"]))
    return Birthplace(
        kind=values["--kind"],
        supervisor=int(values["--supervisor"]),
        target=values["--target"],
        channel=int(values["--fd"]),
    )


if __name__ == "__main__":
    become(_parse(sys.argv[1:]))
