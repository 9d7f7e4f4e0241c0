"""Where workers and gateways come from, behind one call: forked by the zygote, or as a fresh interpreter.

Owns: births. `Factory.spawn` gives a `Birth`; between its return and your next await nothing else runs, so register the
pid at once (`SpawnTable.add` or `.own`), or a sweep of unknown children will take the process for a stray."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import trio

from supervisor import channel as channels
from supervisor import kernel
from supervisor.channel import Channel, ChannelFull
from supervisor.crashpoints import descriptor
from supervisor.descriptors import give_limit
from supervisor.messages import BadMessage, FactoryReady, Fork, Forked, ForkFailed

Method = Literal["zygote", "exec"]
PATIENCE = 10.0
"""Seconds a spawn waits while there is no zygote, which takes a fraction of one to start again; and seconds after which
a zygote that was asked, and answers in milliseconds, but says nothing to anybody, is taken to hang."""
MOST_PATIENCE = 60.0
"""Seconds after which a birth that was asked for is taken to hang, whatever the zygote says to others."""
SECOND_LOOK = 0.1
"""Seconds given to what a zygote said to be read, before it is taken to hang."""


class BirthFailed(Exception):
    """No process came of it; says why. Trying again may help."""


class FactoryGone(BirthFailed):
    """The zygote died, or did not come back in time."""


@dataclass(eq=False)
class Birth:
    """A new process and our ends of what ties us to it, which are the holder's to close. It is our child and not yet
    reaped."""

    pid: int
    pidfd: int
    channel: Channel
    output: int
    start: int

    def close(self) -> None:
        """Close our ends. An unassigned worker exits by itself when its lifeline ends."""
        self.channel.close()
        os.close(self.output)
        os.close(self.pidfd)


@dataclass
class _Pending:
    """One Fork on its way. The acknowledgement pipe is our end: closing it lets the intermediate process go."""

    id: int
    done: trio.Event
    forked: tuple[int, int] | None = None
    error: BirthFailed | None = None


def _ends(pipes: int) -> tuple[socket.socket, socket.socket, list[int]]:
    """A channel and so many pipes, both ends of each: all or none. Raises OSError."""
    ours, theirs = channels.pair()
    descriptors: list[int] = []
    try:
        for _ in range(pipes):
            descriptors += os.pipe2(os.O_CLOEXEC)
    except OSError:
        ours.close()
        theirs.close()
        channels.close_all(descriptors)
        raise
    return ours, theirs, descriptors


def exec_python(module: str, arguments: list[str], environment: Mapping[str, str]) -> Birth:
    """Start `python -I -m module … --fd 3 --supervisor PID` with its channel as descriptor 3 and its output in a pipe.

    Call it in the main thread only: the child's parent-death signal follows the thread that forked it. Raises
    OSError."""
    ours, theirs, (readable, writable) = _ends(pipes=1)
    argv = [sys.executable, "-I", "-m", module, *arguments, "--fd", "3", "--supervisor", str(os.getpid())]
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, writable, 1),
        (os.POSIX_SPAWN_DUP2, writable, 2),
        (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
    ]
    if (table := descriptor()) is not None:
        argv += ["--crash-points", "4"]
        actions.append((os.POSIX_SPAWN_DUP2, table, 4))
    try:
        # Not subprocess: a Popen object nobody waits for reaps its process behind our back (subprocess._cleanup).
        pid = os.posix_spawn(
            sys.executable,
            argv,
            dict(environment),
            file_actions=actions,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
        give_limit(pid)
        start = kernel.start_of(pid)
        return Birth(pid, os.pidfd_open(pid), Channel(ours), readable, start)
    except OSError:
        ours.close()
        os.close(readable)
        raise
    finally:
        theirs.close()
        os.close(writable)


def exec_zygote(worker: str, gateway: str, environment: Mapping[str, str]) -> Birth:
    """Start a zygote; give its channel to `Factory.serve_zygote`. Raises OSError."""
    return exec_python("supervisor.zygote", ["--worker", worker, "--gateway", gateway], environment)


def exec_child(kind: str, target: str, environment: Mapping[str, str]) -> Birth:
    """Start a worker or gateway as a fresh interpreter: method exec, and every gateway upgrade. Raises OSError."""
    return exec_python("supervisor.child", ["--kind", kind, "--target", target], environment)


class Factory:
    """Makes processes of both kinds by one method. `environment` is what exec children start with
    (`outfit.allowed_environment` and the state mark); the zygote's children have the zygote's."""

    def __init__(self, method: Method, *, worker: str, gateway: str, environment: Mapping[str, str]) -> None:
        self.method = method
        self._targets = {"worker": worker, "gateway": gateway}
        self._environment = dict(environment)
        self._zygote: Channel | None = None
        self._attached = trio.Event()
        self._heard = 0.0  # when a zygote last said something
        self._serving = trio.CancelScope()
        self._pending: dict[int, _Pending] = {}
        self._last_id = 0

    async def serve_zygote(
        self, channel: Channel, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Work through this zygote until it ends; started when it says FactoryReady. Every spawn it still owes fails
        with FactoryGone. Call again with the next zygote's channel. Raises BadMessage for a zygote that talks
        nonsense, or says nothing for PATIENCE."""
        try:
            with trio.CancelScope() as self._serving:
                while (received := await channel.receive()) is not None:
                    self._heard = trio.current_time()
                    message, descriptors = received
                    if isinstance(message, FactoryReady):
                        self._zygote = channel
                        self._attached.set()
                        task_status.started()
                    elif isinstance(message, Forked):
                        self._forked(message, descriptors)
                    elif isinstance(message, ForkFailed) and (pending := self._pending.pop(message.id, None)):
                        pending.error = BirthFailed(message.error)
                        pending.done.set()
            if self._serving.cancelled_caught:
                raise BadMessage(f"it was asked to fork and said nothing for {PATIENCE:g} s")
        finally:
            self._lose(channel)

    async def spawn(self, kind: Literal["worker", "gateway"]) -> Birth:
        """A new process of this kind. Many may be asked for at once. Raises BirthFailed; cancelled, the process ends by
        itself."""
        try:
            if self.method == "exec":
                await trio.lowlevel.checkpoint()
                return exec_child(kind, self._targets[kind], self._environment)
            with trio.move_on_after(PATIENCE):
                await self._attached.wait()
            if self._zygote is None:
                raise FactoryGone(f"no zygote within {PATIENCE:g} seconds")
            return await self._fork(self._zygote, kind)
        except (OSError, ChannelFull) as error:  # out of descriptors; or as many wait for the zygote as may
            raise BirthFailed(str(error)) from error

    async def _fork(self, zygote: Channel, kind: str) -> Birth:
        ours, theirs, (readable, writable, waiting, acknowledge) = _ends(pipes=2)
        self._last_id += 1
        pending = self._pending[self._last_id] = _Pending(self._last_id, trio.Event())
        try:
            try:
                zygote.send_nowait(Fork(pending.id, kind, os.getpid()), [theirs.fileno(), writable, waiting])
            finally:
                theirs.close()
                channels.close_all([writable, waiting])
            await self._answered(zygote, pending, trio.current_time())
            if pending.forked is None:
                raise pending.error or FactoryGone("the zygote died")
            # No await from here to the caller: the child becomes ours with the acknowledgement, and must be known then.
            pid, pidfd = pending.forked
            return Birth(pid, pidfd, Channel(ours), readable, kernel.start_of(pid))
        except BaseException:
            self._abandon(pending)
            ours.close()
            os.close(readable)
            raise
        finally:
            os.close(acknowledge)

    async def _answered(self, zygote: Channel, pending: _Pending, asked: float) -> None:
        """Wait for the answer; a zygote that says nothing, to nobody, is given up for the next one. So is one that owes
        this answer for MOST_PATIENCE: with it ends whoever it had fork and who was stopped, perhaps."""
        while not pending.done.is_set():
            deadline = self._patience(asked)
            with trio.move_on_at(deadline):
                await pending.done.wait()
            with trio.move_on_after(SECOND_LOOK):  # stopped and continued ourselves, we find the answer unread
                await pending.done.wait()
            if not pending.done.is_set() and self._patience(asked) <= deadline:
                waited = trio.current_time() - asked
                pending.error = FactoryGone(f"the zygote said nothing for {waited:.0f} s; another one is started")
                if self._zygote is zygote:
                    self._serving.cancel()
                return

    def _patience(self, asked: float) -> float:
        return min(max(asked, self._heard) + PATIENCE, asked + MOST_PATIENCE)

    def _forked(self, message: Forked, descriptors: list[int]) -> None:
        pending = self._pending.pop(message.id, None)
        if pending is None:
            for pidfd in descriptors:  # cancelled: the intermediate still waits or the lifeline has ended it already
                _kill(pidfd)
            return
        if descriptors:
            pending.forked = (message.pid, descriptors.pop())
        else:  # it ends with its lifeline
            pending.error = BirthFailed("no descriptor is left for it")
        pending.done.set()

    def _abandon(self, pending: _Pending) -> None:
        self._pending.pop(pending.id, None)
        if pending.forked is not None:
            pidfd = pending.forked[1]
            _kill(pidfd)
            os.close(pidfd)

    def _lose(self, channel: Channel) -> None:
        channel.close()
        if self._zygote is channel:
            self._zygote = None
            self._attached = trio.Event()
        for pending in self._pending.values():
            pending.error = FactoryGone("the zygote died")
            pending.done.set()
        self._pending.clear()


def _kill(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
