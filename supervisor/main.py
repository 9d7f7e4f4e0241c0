"""Composition root of the supervisor: from options to exit code.

Owns: the order of the start up to the first child, and of the end after the last. It is the only file here that imports
widely."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import trio

from supervisor import kernel, marks, trees, trust
from supervisor.cgroups import Cgroups, open_cgroups
from supervisor.descriptors import raise_limit
from supervisor.holders import who_listens
from supervisor.listeners import CannotListen, open_listeners
from supervisor.lock import Lock, Locked
from supervisor.logfile import Log
from supervisor.notify import Notifier
from supervisor.options import Options
from supervisor.outfit import allowed_environment
from supervisor.settings import EX_CONFIG, Resolved, Unresolved, doors_of, resolve
from supervisor.signals import Asked, serve_signals
from supervisor.sockets import Doors, UnsafePlace, open_directory
from supervisor.spawn import SpawnTable
from supervisor.status import remove_status
from supervisor.system import Ground, System
from supervisor.uids import NoUid

CANNOT_START = 1
T = TypeVar("T")


_MEND = {
    errno.EROFS: "mount the file system it is on writable",
    errno.ENOSPC: "make room on the disk it is on",
    errno.EDQUOT: "make room within the quota",
    errno.EACCES: "start this as the user whose it is",
    errno.ENOTDIR: "move away the file that stands in its path",
    errno.EEXIST: "move away the file that stands in its path",
}
"""What to do about a directory, by why it cannot be used."""


class Refused(Exception):
    """The start is refused; the text is for people, `code` what the supervisor ends with."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def run(options: Options, early: list[int], resolver: subprocess.Popen[bytes] | None = None) -> int:
    """Be the supervisor until it stops; the exit code. `early` are signals caught before, `resolver` already reads the
    configuration."""
    kernel.become_undumpable()
    kernel.become_subreaper()
    kernel.set_title("pg-supervisor")
    raise_limit()
    notifier = Notifier(os.environ)
    for name in (
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
    ):  # meant for us, if for anybody: no child may act on them
        os.environ.pop(name, None)
    with Log() as log:
        try:
            return trio.run(_supervise, options, early, resolver, log, notifier)
        except Exception:  # a defect: with an exit code of its own, so that the service manager tries again
            log.error("the supervisor broke: " + traceback.format_exc())
            return os.EX_SOFTWARE
        finally:
            notifier.close()


async def _supervise(
    options: Options, early: list[int], resolver: subprocess.Popen[bytes] | None, log: Log, notifier: Notifier
) -> int:
    asked = Asked()
    code = os.EX_SOFTWARE
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_signals, asked, log, early)
        with ExitStack() as held:
            code = await _or_refused(lambda: _with_locks(options, resolver, asked, log, notifier, held), log)
        nursery.cancel_scope.cancel()
    return code


async def _or_refused(wanted: Callable[[], Awaitable[int]], log: Log) -> int:
    """The exit code of a start that may be refused; why is said on stderr and stands in the log."""
    try:
        return await wanted()
    except (Refused, Unresolved) as refused:
        log.last_words(str(refused))
        return refused.code
    except (UnsafePlace, NoUid) as error:
        log.last_words(str(error))
        return EX_CONFIG
    except (Locked, CannotListen) as error:
        log.last_words(str(error))
        return CANNOT_START


async def _unless_stopped(asked: Asked, wanted: Callable[[], Awaitable[T]]) -> T | None:
    """The result, or None when a stop was asked for first. Raises what `wanted` raises, as it is."""
    result: T | None = None
    failure: Exception | None = None

    async def cancel_on_stop(scope: trio.CancelScope) -> None:
        await asked.stop.wait()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_stop, nursery.cancel_scope)
        try:
            result = await wanted()
        except Exception as error:  # raised again below, without the group a nursery would put around it
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result


async def _with_locks(
    options: Options,
    resolver: subprocess.Popen[bytes] | None,
    asked: Asked,
    log: Log,
    notifier: Notifier,
    held: ExitStack,
) -> int:
    _make_directory(options.state_dir, 0o700, "--state-dir")
    _make_directory(options.runtime_dir, 0o711, "--runtime-dir")
    lock = held.enter_context(Lock(options.state_dir, options.runtime_dir))
    if not options.wait:
        lock.take_nowait()
    elif not await _unless_stopped(asked, lambda: lock.take(notifier.waiting)):
        return 0
    table = SpawnTable()
    _register_ourselves(table)
    resolved = await _unless_stopped(asked, lambda: resolve(options.config, options.overrides, table, started=resolver))
    if resolved is None:
        return 0
    open_log_file(log, resolved, options.state_dir)
    for warning in resolved.warnings:
        log.warning(warning)
    check_places(options, resolved, log)
    return await _serve(options, resolved, table, asked, log, notifier, held)


def _make_directory(path: str, mode: int, flag: str) -> None:
    try:
        os.close(open_directory(path, mode))
    except OSError as error:
        mend = _MEND.get(error.errno or 0, "see that it can be made and written")
        what = f"{path} cannot be used: {error.strerror}; {mend}, or name another with {flag}"
        raise Refused(what, CANNOT_START) from error


def _register_ourselves(table: SpawnTable) -> None:
    pidfd = os.pidfd_open(os.getpid())
    table.own("supervisor", os.getpid(), pidfd)
    os.close(pidfd)


def open_log_file(log: Log, resolved: Resolved, state_dir: str) -> None:
    """Log to the configured file too. Raises Refused when it cannot be opened."""
    settings = resolved.settings
    log.level = settings.log_level
    if settings.log_file is False:
        return
    path = (
        os.path.join(state_dir, "logs", "peergate.log")
        if settings.log_file is True
        else os.path.abspath(settings.log_file)
    )
    try:
        log.open_file(path, settings.log_max_bytes, settings.log_backups)
    except OSError as error:
        raise Refused(f"logging.file: {path} cannot be opened: {error.strerror}", EX_CONFIG) from error


def our_code() -> dict[str, str]:
    """The places our interpreters execute from, and their role."""
    root = Path(__file__).resolve().parent.parent
    places = {str(root / package): "our code" for package in ("supervisor", "gateway", "agentproc")}
    return places | {
        str(Path(trio.__file__).resolve().parent.parent): "the libraries we run",
        sys.executable: "the interpreter",
    }


def check_places(options: Options, resolved: Resolved, log: Log) -> None:
    """Refuse places those we run could change. Raises Refused (78) with every one of them and what mends it."""
    settings = resolved.settings
    if settings.uids is not None and os.geteuid() != 0:
        raise Refused(
            "supervisor.uids needs a supervisor that runs as root: remove it, or start peergate as root", EX_CONFIG
        )
    roles = our_code() | {options.state_dir: "the state directory", options.runtime_dir: "the runtime directory"}
    if resolved.source is not None:
        roles[resolved.source] = "the configuration"
    verdicts = trust.check(roles, settings.uids, {name: agent.workspace for name, agent in settings.agents.items()})
    for verdict in verdicts:
        if not verdict.fatal:
            log.warning(verdict.text)
    if fatal := [verdict.text for verdict in verdicts if verdict.fatal]:
        raise Refused(
            "not started, because agents or others could change what runs as the supervisor:\n" + "\n".join(fatal),
            EX_CONFIG,
        )


def warn_of_shares(resolved: Resolved, cgroups: Cgroups | None, log: Log) -> None:
    """Say which agents' share of the processor nobody holds: without the kernel there is no way to."""
    if cgroups is not None and cgroups.holds("cpuPercent"):
        return
    for name, agent in resolved.settings.agents.items():
        if "cpuPercent" in agent.limits:
            log.warning(
                f"{agent.limit_key('cpuPercent')} is not held: no cpu controller of cgroup v2 is delegated to us",
                agent=name,
            )


def _own_filters() -> int:
    return kernel.seccomp_filters(os.getpid()) or 0


async def _serve(
    options: Options, resolved: Resolved, table: SpawnTable, asked: Asked, log: Log, notifier: Notifier, held: ExitStack
) -> int:
    filters, mark = _own_filters(), marks.state_mark(options.state_dir)
    cgroups = open_cgroups(resolved.settings.cgroup)
    warn_of_shares(resolved, cgroups, log)
    leftovers = trees.boot_scan(mark, filters, cgroups.leftovers() if cgroups is not None else ())
    if leftovers.killed:
        log.warning(f"killed {leftovers.killed} processes that a dead supervisor of this state directory left")
    try:
        doors = Doors.open(options.runtime_dir, doors_of(resolved.settings))
    except OSError as error:
        raise Refused(f"the sockets in {options.runtime_dir} cannot be opened: {error}", CANNOT_START) from error
    held.callback(doors.close)
    settings = resolved.settings
    listeners = open_listeners(settings.bind, settings.port, settings.custom_hosts, who_listens)
    held.callback(listeners.close)
    held.callback(remove_status, options.runtime_dir)

    def recheck(new: Resolved) -> None:
        try:
            check_places(options, new, log)
        except Refused as refused:
            raise UnsafePlace(str(refused)) from refused
        warn_of_shares(new, cgroups, log)

    environment = {**allowed_environment(os.environ), marks.STATE_VARIABLE: mark}
    ground = Ground(options, table, doors, listeners, log, notifier, asked, environment, filters, cgroups, recheck)
    system = System(ground, resolved)
    system.control.on_waiting = notifier.waiting
    async with trio.open_nursery() as nursery:
        await system.start(nursery)
        if not system.failed:
            await system.wait_for_end()
        failed = system.failed and not asked.stop.is_set()
        await system.stop()
        nursery.cancel_scope.cancel()
    log.info("stopped")
    return EX_CONFIG if failed else 0
