"""`peergate stop` and `reload`: signals to the supervisor.

The process to signal is the one that listens at operator.sock, named by the kernel as a pidfd: a pid from a file
could be anybody's, and the listener is the supervisor also while the gateway is dead or hung."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from supervisor.cli.errors import BadConfig, CliError, NotAllowed, NotRunning, UidRefused
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.snapshot import read_status
from supervisor.cli.wire import dial

SO_PEERPIDFD = 77  # Linux 6.5, asm-generic/socket.h; Python has no name for it
STOP_SECONDS, RELOAD_SECONDS = 30.0, 10.0
LOOK_SECONDS = 0.02


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
    "--timeout",
    type=click.FloatRange(0),
    metavar="SECONDS",
    default=STOP_SECONDS,
    show_default=True,
    help="Seconds to wait for its end.",
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


@command("reload", "peergate reload", "peergate config validate && peergate reload")
@click.option(
    "--timeout", type=click.FloatRange(0), metavar="SECONDS", default=RELOAD_SECONDS, show_default=True,
    help="Seconds to wait for what becomes of it; 0: do not wait.",
)  # fmt: skip
def reload(run: Invocation, timeout: float) -> None:
    """Make the running system read its configuration again, and say what became of it. A configuration that is wrong
    changes nothing; the exit code is then 78.

    --json prints {signalled, pid, reloaded}; `reloaded` is null when that was not waited for."""
    before = _reloads(run)
    with _supervisor_of(run, "reload") as (pid, pidfd):
        _signal(pidfd, pid, signal.SIGHUP)
        after = _next_reloads(run, before, pidfd, timeout)
    if after is None and timeout:
        raise CliError(
            f"the supervisor (pid {pid}) has not said within {timeout:g} s what became of it", fix="peergate logs"
        )
    if after is not None and after.get("error") is not None:
        raise BadConfig(
            f"not reloaded, the configuration before it stays:\n{after['error']}", fix="peergate config validate"
        )
    told = {"signalled": True, "pid": pid, "reloaded": None if after is None else True}
    run.answer(told, lambda: "reloaded" if after is not None else f"told the supervisor (pid {pid}); see peergate logs")


def _reloads(run: Invocation) -> dict[str, Any]:
    """How often the configuration was read again, and how that ended, as the supervisor has written it down."""
    return (read_status(run.running_dir) or {}).get("reloads") or {}


def _next_reloads(run: Invocation, before: dict[str, Any], pidfd: int, seconds: float) -> dict[str, Any] | None:
    """The same once it is another; None when that took longer, or the supervisor has ended."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not _ended(pidfd, LOOK_SECONDS):
        if (found := _reloads(run)).get("count", 0) != before.get("count", 0):
            return found
    return None
