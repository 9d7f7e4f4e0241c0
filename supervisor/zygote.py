"""The fork server: one thread, worker and gateway code imported, no secrets; forks a child in a millisecond or
two.

`python -I -m supervisor.zygote --fd N --supervisor PID --worker M:F --gateway M:F`. It forks an intermediate process
that forks the child, sends the child's pidfd while it still pins the pid, waits for the acknowledgement and exits,
which makes the child the supervisor's own. Owns nothing that lasts: it can be killed and started again at any time."""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from typing import NoReturn

from supervisor import kernel
from supervisor.channel import close_all, receive_blocking, send_blocking
from supervisor.child import Birthplace, become, find_target, rehearse
from supervisor.crashpoints import attach, crashpoint
from supervisor.messages import BadMessage, FactoryReady, Fork, Forked, ForkFailed

REHEARSALS = 3
"""CPython rewrites a function's code after a few calls; done here, the rewritten pages are shared by every child."""


def serve(fd: int, supervisor: int, targets: dict[str, str]) -> NoReturn:
    """Import the targets and fork on demand until the factory channel ends."""
    kernel.die_with_parent(signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(0)
    os.setsid()  # Ctrl-C at the terminal is for the supervisor, which stops everything in order
    kernel.become_undumpable()
    kernel.set_title("pg-zygote")
    for target in targets.values():
        find_target(target)
        for _ in range(REHEARSALS):
            rehearse(target)
    wakeup = _wake_on_child()
    gc.collect()
    gc.freeze()  # the collector leaves what every child shares in place, so that its pages stay shared
    channel = socket.socket(fileno=fd)
    send_blocking(channel, FactoryReady(pid=os.getpid()))
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(wakeup, select.POLLIN)
    at_work: dict[int, int] = {}
    while True:
        ready = {number for number, _ in poll.poll()}
        if wakeup in ready:
            _reap(wakeup, channel, at_work)
        if channel.fileno() in ready:
            _serve_one(channel, supervisor, targets, at_work)


def _wake_on_child() -> int:
    """A pipe that becomes readable when an intermediate process ends."""
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler there is no wakeup
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    return readable


def _reap(wakeup: int, channel: socket.socket, at_work: dict[int, int]) -> None:
    """Every child of ours is an intermediate process. For one that was killed we answer: it may not have done so."""
    os.read(wakeup, 4096)
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            request = at_work.pop(ended[0], None)
            if ended[1] != 0 and request is not None:
                code = os.waitstatus_to_exitcode(ended[1])
                send_blocking(channel, ForkFailed(id=request, error=f"the forking process ended with {code}"))
    except ChildProcessError:
        pass


def _serve_one(channel: socket.socket, supervisor: int, targets: dict[str, str], at_work: dict[int, int]) -> None:
    received = receive_blocking(channel)
    if received is None:
        os._exit(0)
    request, descriptors = received
    if not isinstance(request, Fork) or len(descriptors) != 3 or request.kind not in targets:
        raise BadMessage(f"a zygote forks and nothing else, so not {request!r} with {len(descriptors)} descriptors")
    if kernel.thread_count() != 1:  # a lock held by another thread would stay locked for ever in the child
        raise RuntimeError("an imported target started a thread: the zygote must have one only")
    sys.stdout.flush()
    sys.stderr.flush()
    crashpoint("zygote.fork.before")
    zygote = os.getpid()
    try:
        forked = os.fork()
    except OSError as error:
        send_blocking(channel, ForkFailed(id=request.id, error=str(error)))
    else:
        if forked == 0:
            kernel.die_with_parent(signal.SIGKILL)  # also when stopped: nobody else would ever find it
            if os.getppid() != zygote:
                os._exit(0)
            _be_intermediate(channel, request, descriptors, targets[request.kind])
        at_work[forked] = request.id
    close_all(descriptors)


def _be_intermediate(channel: socket.socket, request: Fork, descriptors: list[int], target: str) -> NoReturn:
    """Fork the child and hand it over. Lives until the supervisor has the pidfd, or is gone."""
    lifeline, output, acknowledgement = descriptors
    signal.set_wakeup_fd(-1)
    own = os.getpid()
    crashpoint("zygote.fork.between")
    try:
        forked = os.fork()
        if forked == 0:
            os.close(channel.detach())  # first of all: whoever holds it can ask for processes
            os.close(acknowledgement)
            become(Birthplace(request.kind, request.supervisor, target, lifeline, output, parent=own))
        os.close(lifeline)
        os.close(output)
        pidfd = os.pidfd_open(forked)  # our unreaped child: the number cannot mean another process
        crashpoint("zygote.handover.before")
        send_blocking(channel, Forked(id=request.id, pid=forked), [pidfd])
        crashpoint("zygote.handover.after")
        os.read(acknowledgement, 1)
    except OSError as error:
        send_blocking(channel, ForkFailed(id=request.id, error=str(error)))
    finally:
        os._exit(0)


def main(arguments: list[str]) -> NoReturn:
    """Read the command line and serve."""
    values = dict(zip(arguments[::2], arguments[1::2], strict=True))
    if "--crash-points" in values:
        attach(int(values["--crash-points"]))
    targets = {"worker": values["--worker"], "gateway": values["--gateway"]}
    serve(int(values["--fd"]), int(values["--supervisor"]), targets)


if __name__ == "__main__":
    main(sys.argv[1:])
