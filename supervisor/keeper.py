"""Carries out one unit's life with Trio: spawns, serves, signals and reaps what `machine` decides.

Owns: the unit's process. At most one exists at a time; it is waited for by its pidfd, never by number. What the unit
*is* stands in `Keeper.unit`; what to run and what to say to it are given as plain functions."""

from __future__ import annotations

import os
import random
import signal
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from supervisor import trees
from supervisor.channel import ChannelFull
from supervisor.factory import Birth, BirthFailed
from supervisor.logfile import Log
from supervisor.machine import Action, Event, Phase, Policy, Unit, step
from supervisor.messages import BadMessage
from supervisor.trees import Exit

DRAIN_SECONDS = 0.5
"""How long the last words of a dead process are waited for."""


def describe(end: Exit) -> str:
    """How it ended, for people."""
    if end.signal is not None:
        return f"killed by {signal.Signals(end.signal).name}" if end.signal < 32 else f"killed by signal {end.signal}"
    return f"exit code {end.code}" if end.code is not None else "exit status unknown"


async def reaped(pidfd: int) -> Exit:
    """Wait for our child to end, and reap it."""
    await trees.wait_ended(pidfd)
    try:
        return trees.reap(pidfd) or Exit()
    except ChildProcessError:  # its parent was not us, or somebody reaped it by number
        return Exit()


def terminate(birth: Birth) -> None:
    """The plain way to ask a process to stop; SIGCONT so that a stopped one hears it."""
    trees.send(birth.pidfd, signal.SIGTERM)
    trees.send(birth.pidfd, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Trade:
    """What a keeper keeps. `spawn` raises BirthFailed; `own` is told of the birth before anything else can run,
    `disown` when it is reaped; `serve(birth, ready)` talks to it and calls `ready` once; when it returns, or raises
    BadMessage or ChannelFull, the process is of no more use and is killed. `read_output` reads its pipe to the end."""

    spawn: Callable[[], Awaitable[Birth]]
    own: Callable[[Birth], None]
    disown: Callable[[Birth], None]
    serve: Callable[[Birth, Callable[[], None]], Awaitable[None]]
    read_output: Callable[[Birth], Awaitable[None]]
    ask_to_stop: Callable[[Birth], None] = terminate


class Keeper:
    """One unit, kept. Its methods may be called from any task of the loop; nothing happens before `run`."""

    def __init__(self, name: str, trade: Trade, log: Log, *, policy: Policy | None = None) -> None:
        self.name = name
        self.unit = Unit()
        self.birth: Birth | None = None
        self.last_end: Exit | None = None
        self._trade, self._log = trade, log
        self._policy = policy or Policy()
        self._changed = trio.Event()
        self._nursery: trio.Nursery | None = None
        self.on_change: Callable[[], None] = lambda: None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep it, for ever. Cancelled, its process is left to its parent-death signal."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            while True:
                changed, due = self._changed, self.unit.due
                if due is None:
                    await changed.wait()
                else:
                    with trio.move_on_at(due):
                        await changed.wait()
                self.feed(Event.DUE)

    def want_up(self) -> None:
        """It shall run."""
        self.feed(Event.WANT_UP)

    def want_down(self) -> None:
        """It shall stop, in the time its policy gives."""
        self.feed(Event.WANT_DOWN)

    def kill_now(self) -> None:
        """It shall be gone at once."""
        self.feed(Event.KILL_NOW)

    async def wait_for(self, *phases: Phase) -> Phase:
        """Wait until it is in one of these phases; which one."""
        while self.unit.phase not in phases:
            await self._changed.wait()
        return self.unit.phase

    async def wait_alive(self) -> bool:
        """Wait until a process exists (True), or the attempt at hand has failed (False)."""
        while self.unit.phase is Phase.STARTING and not self.unit.alive:
            await self._changed.wait()
        return self.unit.alive

    def feed(self, event: Event, code: int | None = None, died: float | None = None) -> None:
        """Let the machine decide, and do it."""
        before = self.unit
        self.unit, actions = step(
            self.unit, event, trio.current_time(), self._policy, code=code, died=died, jitter=random.random()
        )
        for action in actions:
            self._do(action)
        if self.unit != before:
            self._changed.set()
            self._changed = trio.Event()
        if self.unit.phase is not before.phase:
            self._tell(before)

    def _do(self, action: Action) -> None:
        match action:
            case Action.SPAWN:
                assert self._nursery is not None, "run() first"
                self._nursery.start_soon(self._live)
            case Action.TERM:
                if self.birth is not None:
                    self._trade.ask_to_stop(self.birth)
            case Action.KILL:
                if self.birth is not None:
                    trees.send(self.birth.pidfd, signal.SIGKILL)
            case Action.GIVE_UP:
                self._log.error(
                    f"the {self.name} cannot run as things are (exit code 78; it said why): it is not started again"
                )

    def _tell(self, before: Unit) -> None:
        match self.unit.phase:
            case Phase.READY:
                self._log.info(f"the {self.name} is ready", unit=self.name, pid=self.birth.pid if self.birth else None)
            case Phase.BACKOFF:
                delay = (self.unit.due or 0) - trio.current_time()
                self._log.warning(f"the {self.name} will be started again in {delay:.2f} s", unit=self.name)
            case Phase.KILLING if before.phase is Phase.STARTING and self.unit.wanted:
                self._log.error(
                    f"the {self.name} was not ready within {self._policy.start_timeout:g} s: killed", unit=self.name
                )
            case Phase.KILLING:
                self._log.warning(f"the {self.name} did not stop in time: killed", unit=self.name)
            case _:
                pass
        self.on_change()

    async def _live(self) -> None:
        """One process from birth to reaping."""
        try:
            birth = await self._trade.spawn()
        except BirthFailed as error:
            self._log.error(f"the {self.name} could not be started: {error}", unit=self.name)
            self.feed(Event.EXITED)
            return
        self._trade.own(birth)
        self.birth = birth
        self.feed(Event.SPAWNED)
        ended, died = Exit(), None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._trade.read_output, birth)
                async with trio.open_nursery() as serving:
                    serving.start_soon(self._serve, birth)
                    ended = await reaped(birth.pidfd)
                    died = trio.current_time()  # what it leaves unread says nothing about how long it was ready
                    serving.cancel_scope.cancel()
                nursery.cancel_scope.deadline = trio.current_time() + DRAIN_SECONDS
        finally:
            self.birth = None
            self._trade.disown(birth)
            birth.channel.close()
            os.close(birth.pidfd)
        self.last_end = ended
        expected = self.unit.phase in (Phase.STOPPING, Phase.KILLING)
        self._log.write(
            "info" if expected else "error",
            "supervisor",
            f"the {self.name} ended: {describe(ended)}",
            unit=self.name,
            pid=birth.pid,
        )
        self.feed(Event.EXITED, ended.code, died)

    async def _serve(self, birth: Birth) -> None:
        """Talk to it for as long as it can be talked to. What goes wrong costs this process, not the supervisor."""
        try:
            await self._trade.serve(birth, lambda: self.feed(Event.READY))
        except* (BadMessage, ChannelFull) as errors:
            self._log.error(f"the {self.name} (pid {birth.pid}) is broken: {errors.exceptions[0]}", unit=self.name)
        except* Exception as errors:
            told = "".join(traceback.format_exception(errors))
            self._log.error(f"serving the {self.name} (pid {birth.pid}) failed: {told}", unit=self.name)
        if self.unit.phase not in (Phase.STOPPING, Phase.KILLING):
            trees.send(birth.pidfd, signal.SIGKILL)
