"""The running system as one thing: its doors, its line of code, its workers, its configuration; and how it starts,
changes and ends.

Owns: the order of those. `start` returns when the gateway is ready or has refused its configuration; `stop` when
nothing is left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from supervisor import chores, trees
from supervisor.agents import Agents
from supervisor.cgroups import Cgroups
from supervisor.control import Control, Gift, make_take
from supervisor.factory import Birth
from supervisor.held import KeptQuarantine
from supervisor.holders import Holders, possible_uids
from supervisor.line import Line
from supervisor.listeners import Listeners
from supervisor.logfile import Log
from supervisor.machine import Phase
from supervisor.messages import Notice
from supervisor.notify import Notifier
from supervisor.options import Options
from supervisor.processes import Subject
from supervisor.report import Picture, snapshot_of, subjects_of
from supervisor.settings import (
    OUTER,
    Resolved,
    Unresolved,
    doors_of,
    keeping_outer_door,
    needs_restart,
    resolve,
    sealed,
)  # fmt: skip
from supervisor.signals import Asked
from supervisor.sockets import Doors, UnsafePlace
from supervisor.spawn import SpawnTable
from supervisor.status import StatusFile
from supervisor.uids import Uids
from supervisor.upgrade import take_over
from supervisor.whois import Whois
from supervisor.worker import Around

KILL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ground:
    """What a system stands on, made before it and closed after it. `environment` is what children start with,
    `own_filters` how many seccomp filters we have; `recheck` raises UnsafePlace for a configuration whose places are
    not safe."""

    options: Options
    table: SpawnTable
    doors: Doors
    listeners: Listeners
    log: Log
    notifier: Notifier
    asked: Asked
    environment: Mapping[str, str]
    own_filters: int
    cgroups: Cgroups | None
    recheck: Callable[[Resolved], None]


class System:
    """One system, from opened doors to closed ones."""

    def __init__(self, ground: Ground, resolved: Resolved) -> None:
        self.ground, self.resolved = ground, resolved
        self.stopping = False
        self.since = time.time()
        self.nursery: trio.Nursery | None = None
        self._busy = trio.Lock()
        self._watching = trio.CancelScope()  # of the line there is, for the end of its gateway
        table, log, filters = ground.table, ground.log, ground.own_filters
        self.status = StatusFile(ground.options.runtime_dir, self.snapshot, log)
        whois = Whois(table, filters)
        self.holders = Holders(whois, possible_uids(os.geteuid(), resolved.settings.uids), ground.cgroups)
        self.control = Control(table, whois, self.holders, log, self._gift, self.subjects)
        self.control.on_change = self.status.changed
        self.agents = Agents(
            settings=resolved.settings,
            around=Around(table, log, filters),
            socket=os.path.join(ground.options.runtime_dir, "agents.sock"),
            uids=Uids(ground.options.state_dir),
            quarantine=KeptQuarantine(ground.options.state_dir, log),
            new_birth=self._birth,
            tell=self.control.tell,
            on_change=self.status.changed,
            cgroups=ground.cgroups,
        )
        self.control.attach(self.agents)
        self.line = self.new_line(1)
        self.lines = [self.line]

    async def start(self, nursery: trio.Nursery) -> None:
        """Start everything below `nursery`; return when the gateway is ready, gives up (exit 78), or a stop is asked
        for."""
        self.nursery = nursery
        ground = self.ground
        for task in (self.status.serve, self.holders.serve, self._reload_when_asked, self._upgrade_when_asked):
            nursery.start_soon(task)
        nursery.start_soon(chores.reap_orphans, ground.asked, ground.table, ground.own_filters)
        nursery.start_soon(chores.pet, ground.notifier, self.control.silent_for)
        nursery.start_soon(chores.watch_doors, ground.doors, ground.listeners, ground.log, self._renew_gateway)
        await nursery.start(self.agents.run)
        await nursery.start(self.line.run)
        self.line.allowed.set()
        if self.line.uses_zygote:
            self.line.prepare()
        self.line.gateway.want_up()
        async with trio.open_nursery() as waiting:
            waiting.start_soon(self._cancel_on_stop, waiting.cancel_scope)
            await self.line.gateway.wait_for(Phase.READY, Phase.FAILED)
            waiting.cancel_scope.cancel()
        if self.line.gateway.unit.phase is Phase.READY:
            self._announce()

    async def wait_for_end(self) -> None:
        """Wait for a reason to stop: a signal, or a gateway that will not run with this configuration."""
        async with trio.open_nursery() as waiting:
            waiting.start_soon(self._cancel_on_stop, waiting.cancel_scope)
            while True:
                with trio.CancelScope() as self._watching:
                    await self.line.gateway.wait_for(Phase.FAILED)
                if self.failed and not self._busy.locked():
                    waiting.cancel_scope.cancel()
                await trio.sleep(0.1)

    @property
    def failed(self) -> bool:
        """Whether the gateway said that the configuration is wrong."""
        return self.line.gateway.unit.phase is Phase.FAILED

    async def stop(self) -> None:
        """Everything, in order and in `stop_seconds`; killed when they are over or a second signal asks for it."""
        self.stopping = self.agents.stopping = True
        self.ground.notifier.stopping("stopping")
        self.status.write_now()
        seconds = self.resolved.settings.stop_seconds
        with trio.CancelScope() as killing:
            async with trio.open_nursery() as watching:
                watching.start_soon(self._kill_when_asked, seconds, killing)
                await self._stop_in_order(seconds)
                watching.cancel_scope.cancel()
        await trees.sweep(self.ground.table.known_pids, self.ground.own_filters)

    async def _stop_in_order(self, seconds: float) -> None:
        self.line.spares.want = 0
        self.line.spares.drop()
        self.control.drain("the system stops")
        await self.agents.stop_all(seconds / 2)
        await self.line.stop()

    async def _kill_when_asked(self, seconds: float, killing: trio.CancelScope) -> None:
        with trio.move_on_after(seconds):
            await self.ground.asked.kill.wait()
        self.ground.log.warning(
            "not everything stopped in time" if not self.ground.asked.kill.is_set() else "killing everything"
        )
        self.agents.kill_all_now()
        self.line.kill_now()
        killing.deadline = trio.current_time() + KILL_SECONDS

    async def _cancel_on_stop(self, scope: trio.CancelScope) -> None:
        await self.ground.asked.stop.wait()
        scope.cancel()

    # --- changes

    async def _reload_when_asked(self) -> None:
        while True:
            await self.ground.asked.reload.wait()
            self.ground.asked.reload = trio.Event()
            self.ground.notifier.reloading()
            async with self._busy:
                await self.reload()
            self.ground.notifier.reloaded()

    async def reload(self) -> None:
        """Read the configuration again; a wrong one changes nothing."""
        try:
            wanted = await resolve(self.ground.options.config, self.ground.options.overrides, self.ground.table)
            self.ground.recheck(wanted)
            resolved = keeping_outer_door(self.resolved, wanted)
            document = sealed(resolved.document)
        except (Unresolved, UnsafePlace, OSError) as error:  # OSError: no process, or no descriptor, to be had
            self.ground.log.error(f"the configuration was not reloaded, the old one stays: {error}")
            self.status.reloaded(str(error))
            self.control.tell(Notice("error", "CONFIG_INVALID", str(error)[:4000], fix="peergate config validate"))
            return
        for key in needs_restart(self.resolved.settings, wanted.settings):
            others = ", and until then the rest of the gateway section stays as it was" if key in OUTER else ""
            self.ground.log.warning(f"{key} changed: it counts after a restart{others}")
        for warning in resolved.warnings:
            self.ground.log.warning(warning)
        self.resolved = resolved
        self.agents.settings = resolved.settings
        self.ground.log.level = resolved.settings.log_level
        self.line.spares.want = resolved.settings.warm_spares
        try:
            self.control.reload(document)
        finally:
            os.close(document)
        self.ground.log.info("configuration reloaded", source=resolved.source)
        self.status.reloaded()

    async def _upgrade_when_asked(self) -> None:
        while True:
            await self.ground.asked.upgrade.wait()
            self.ground.asked.upgrade = trio.Event()
            async with self._busy:
                await self.upgrade()

    async def upgrade(self) -> None:
        """Put the code on disk to work; when that fails, everything stays as it is."""
        assert self.nursery is not None
        old, new = self.line, self.new_line(self.line.number + 1)
        self.lines = [old, new]
        await self.nursery.start(new.run)
        if await take_over(old, new, self.ground.log):
            self.line = new
            self._watching.cancel()
            new.warm(self.resolved.settings.warm_spares)
            await old.stop()
            self.ground.log.info("upgraded", generation=self.control.generation)
        self.lines = [self.line]
        self.status.changed()

    # --- what runs beside

    def _announce(self) -> None:
        self.line.warm(self.resolved.settings.warm_spares)
        self.status.write_now()
        self.ground.notifier.ready("ready")
        self.ground.log.info(
            "ready",
            doors=list(self.ground.doors.listeners),
            addresses=self.ground.listeners.addresses,
            state=self.ground.options.state_dir,
            configuration=self.resolved.source,
        )
        if self.ground.options.ready_fd is not None:
            try:
                os.write(self.ground.options.ready_fd, b"ready\n")
            except OSError as error:
                self.ground.log.warning(f"nobody reads --ready-fd: {error}")
            os.close(self.ground.options.ready_fd)

    def _renew_gateway(self, broken: list[str]) -> None:
        """The gateway holds a door that leads nowhere: a new one gets what stands in its place."""
        self.ground.log.error(f"somebody removed or shut down {', '.join(broken)}: opened again, with a new gateway")
        if self.nursery is not None:
            self.nursery.start_soon(self._renew_gateway_soon)
        self.status.changed()

    async def _renew_gateway_soon(self) -> None:
        async with self._busy:  # an upgrade waits for the end of this very gateway
            if not self.stopping:
                self.line.gateway.want_down()
                self.line.gateway.want_up()

    # --- what others ask for

    async def _birth(self) -> Birth:
        return await self.line.birth()

    def new_line(self, number: int) -> Line:
        """A line for the code as it is on disk now; nothing of it runs yet."""
        ground, settings = self.ground, self.resolved.settings
        line = Line(
            number, settings, ground.options.targets, ground.environment, ground.table, self.control, ground.log
        )
        line.gateway.on_change = line.zygote.on_change = self.status.changed
        return line

    def _gift(self, generation: int) -> Gift:
        held = {**self.ground.doors.listeners, **self.ground.listeners.listeners}
        document = sealed(self.resolved.document)
        options, log = self.ground.options, self.ground.log
        places = options.state_dir, options.runtime_dir
        take = make_take(generation, list(held), *places, os.getpid(), log.path, self.ground.own_filters)
        descriptors = [*(listener.fileno() for listener in held.values()), document]
        return Gift(take, descriptors, lambda: os.close(document))

    def subjects(self) -> list[Subject]:
        """Our processes, for the process table."""
        return subjects_of(self.lines, self.agents, self.ground.table.known_pids())

    def snapshot(self) -> dict[str, Any]:
        """The content of status.json."""
        ground = self.ground
        return snapshot_of(
            Picture(
                options=ground.options,
                resolved=self.resolved,
                since=self.since,
                stopping=self.stopping,
                log_file=ground.log.path,
                doors={door.name: door.path for door in doors_of(self.resolved.settings)},
                addresses=ground.listeners.addresses,
                gateway=self.control.gateway,
                generation=self.control.generation,
                line=self.line,
                agents=self.agents,
            )
        )
