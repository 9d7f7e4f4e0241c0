"""`peergate stop` and `reload`: signals to the supervisor.

The process to signal is the one that listens at operator.sock, named by the kernel as a pidfd: a pid from a file
could be anybody's, and the listener is the supervisor also while the gateway is dead or hung."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import click

from supervisor.cli.errors import CliError, NotAllowed, NotRunning, UidRefused
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.wire import dial

SO_PEERPIDFD = 77  # Linux 6.5, asm-generic/socket.h; Python has no name for it
STOP_SECONDS = 30.0


@contextmanager
def listener_of(door: str) -> Iterator[tuple[int, int]]:
    """The pid and a pidfd of the process that listens at a door. Raises NotRunning or NotAllowed."""
    with dial(door) as sock:
        pid = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), "little", signed=True)
        pidfd = _pidfd(sock, pid)
    try:
        yield pid, pidfd
    finally:
        os.close(pidfd)


@contextmanager
def _supervisor_of(run: Invocation, what: str) -> Iterator[tuple[int, int]]:
    """The supervisor to signal. Whoever may not, and is inside an agent, is told that this is why."""
    try:
        with listener_of(run.operator_door) as found:
            yield found
    except UidRefused:
        if agent := run.environ.get("PEERGATE_AGENT"):
            raise NotAllowed(
                f"a program of an agent (here {agent}) may not {what} the system",
                fix=f"an operator may, outside of the agents: peergate {what}",
            ) from None
        raise


def _pidfd(sock: socket.socket, pid: int) -> int:
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError:
        # Older kernels: the listener still held its end a moment ago, so its number is hardly another's yet.
        if pid <= 0:
            raise CliError("the system runs in another PID namespace; signal it from there") from None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise NotRunning("the process that opened the socket has ended") from None


def _signal(pidfd: int, pid: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        raise NotRunning("the supervisor has ended already") from None
    except PermissionError:
        who = f"uid {os.geteuid()} may not signal the supervisor (pid {pid})"
        raise UidRefused(who, fix="only its own uid and root may; under systemd use systemctl") from None


@command("stop", "peergate stop", "peergate stop --timeout 60")
@click.option(
    "--timeout", type=click.FloatRange(0), default=STOP_SECONDS, show_default=True, help="Seconds to wait for its end."
)
@click.option("--now", is_flag=True, help="Do not wait for turns under way: signal twice.")
def stop(run: Invocation, timeout: float, now: bool) -> None:
    """Stop the running system and wait until it has ended. --json prints {stopped, pid}."""
    with _supervisor_of(run, "stop") as (pid, pidfd):
        _signal(pidfd, pid, signal.SIGTERM)
        if now and not _ended(pidfd, 0.2):
            _signal(pidfd, pid, signal.SIGTERM)
        if not _ended(pidfd, timeout):
            raise CliError(
                f"the supervisor (pid {pid}) has not ended within {timeout:g} s",
                fix="peergate stop --now; peergate logs",
            )
    run.answer({"stopped": True, "pid": pid}, lambda: f"stopped (pid {pid})")


def _ended(pidfd: int, seconds: float) -> bool:
    """A pidfd becomes readable when its process ends (pidfd_open(2))."""
    return bool(select.select([pidfd], [], [], seconds)[0])


@command("reload", "peergate config validate && peergate reload")
def reload(run: Invocation) -> None:
    """Make the running system read its configuration again. A configuration that is wrong changes nothing; the log
    says why.

    --json prints {signalled, pid}."""
    with _supervisor_of(run, "reload") as (pid, pidfd):
        _signal(pidfd, pid, signal.SIGHUP)
    run.answer({"signalled": True, "pid": pid}, lambda: f"told the supervisor (pid {pid}); see peergate logs")
