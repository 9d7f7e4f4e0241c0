"""What the gateway does, behind its handlers: the services, opened and closed as one bundle.

Owns the bundle `Services`; `open_services` is the only way to get one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from gateway.config.settings import Settings
from gateway.protocol.errors import Refusal
from gateway.services.agents import Agents
from gateway.services.cron import Cron
from gateway.services.engine import Engine
from gateway.services.health import HealthBook
from gateway.services.housekeeping import keep_house
from gateway.services.idempotency import Idempotency
from gateway.services.identity import Identity
from gateway.services.info import VERSION, Info
from gateway.services.leases import Leases
from gateway.services.mailbox import Mailbox
from gateway.services.pairing import Pairing
from gateway.services.ports import Publisher, Supervisor
from gateway.services.presence import Attendance
from gateway.services.recovery import recover
from gateway.services.refusals import Refusals
from gateway.services.runs import Runs
from gateway.services.session_edits import SessionEdits
from gateway.services.sessions import Sessions
from gateway.services.workers import Workers
from gateway.store.database import Database, open_database
from gateway.store.faults import Unwilling
from supervisor.crashpoints import wall_clock

log = logging.getLogger("gateway.services")

DATABASE = "peergate.db"
HEALTH_SECONDS = 60.0
"""How often listeners hear of the health."""


@dataclass(slots=True)
class Services:
    """Everything a handler or tool may use. `clock` gives wall milliseconds."""

    settings: Settings
    database: Database
    sessions: Sessions
    runs: Runs
    agents: Agents
    leases: Leases
    mailbox: Mailbox
    workers: Workers
    idempotency: Idempotency
    refusals: Refusals
    pairing: Pairing
    cron: Cron
    hub: Publisher
    supervisor: Supervisor
    clock: Callable[[], float]
    info: Info
    engine: Engine = field(repr=False)
    edits: SessionEdits
    health: HealthBook
    presence: Attendance
    identity: Identity
    counters: dict[str, Callable[[], Any]]
    """Set by the composition root: `connections` -> how many are open; `status` -> doors and such for the `status`
    answer."""

    def reload(self, settings: Settings) -> None:
        """Use new settings from now on; runs in progress keep their deadlines."""
        self.settings = settings
        self.engine.settings = settings
        for agent in self.engine.holds.awaited() - settings.agents.entries.keys():  # nobody can release them any more
            self.engine.unpark(agent)
        for agent in settings.agents.entries:  # one that was held before it went is held when it comes back
            if self.engine.holds.why(agent) is not None:
                self.engine.set_aside(agent)
        self.engine.pump()
        self.cron.reload()

    def drain(self, reason: str) -> None:
        """Accept no new work and start none; runs in progress go on."""
        self.engine.draining = reason


def wall_ms() -> float:
    """Milliseconds since the epoch."""
    return wall_clock() * 1000


@asynccontextmanager
async def open_services(
    settings: Settings,
    state_dir: Path,
    link: Supervisor,
    hub: Publisher,
    live_rows: list[dict[str, Any]],
    generation: int,
    *,
    quarantined: Mapping[str, str] | None = None,
    clock: Callable[[], float] = wall_ms,
    waiting: Callable[[str], None] | None = None,
) -> AsyncIterator[Services]:
    """Open the database, raise the epoch, recover what earlier gateways left, and run the engine until the block ends.

    The caller routes what the supervisor says: `services.workers.exited`, `services.agents.quarantined`,
    `services.reload`, `services.drain`. `waiting` hears once a second why the disk does not let the database be opened.
    A database that a newer gateway has taken, or that memory could not follow, ends the block with that error; Damaged
    and SchemaTooNew when the file must not be used, Unwilling when the disk fills up in the middle of recovery."""
    first = generation == 1  # later ones follow a gateway that died; the file was looked through before
    async with open_database(state_dir / DATABASE, thorough=first, waiting=waiting) as database:
        async with trio.open_nursery() as nursery:
            engine = Engine(database, settings, link, hub, clock, nursery)
            nursery.start_soon(_fail_when_broken, database)
            nursery.start_soon(engine.timers.serve)
            pairing = Pairing(database, hub, clock)
            runs = Runs(engine)
            cron = Cron(engine, runs, hub)
            database.on_trouble += (engine.disk_changed, cron.disk_changed)
            nursery.start_soon(keep_house, engine, pairing.clean, cron.clean)
            info = Info(generation, database.epoch, clock(), VERSION)
            board = engine.board
            sessions = Sessions(database, clock, lambda key: board.current(key) is not None, board.busy)
            counters: dict[str, Callable[[], Any]] = {}
            health = HealthBook(engine, info, counters)
            nursery.start_soon(_tell_health, hub, health)
            services = Services(
                settings, database, sessions, runs, Agents(engine), Leases(engine), Mailbox(engine), engine.workers,
                Idempotency(database, clock), Refusals(database, clock), pairing, cron, hub, link, clock, info, engine,
                SessionEdits(engine), health, Attendance(hub, clock, engine.timers), Identity(state_dir), counters,
            )  # fmt: skip
            try:
                await recover(engine, live_rows, quarantined or {})
            except Refusal as refusal:
                raise Unwilling(refusal.shape.message) from refusal
            nursery.start_soon(cron.serve)
            yield services
            nursery.cancel_scope.cancel()


async def _tell_health(hub: Publisher, health: HealthBook) -> None:
    while True:
        await trio.sleep(HEALTH_SECONDS)
        if hub.listeners:
            try:
                hub.publish("health", health.picture())
            except Refusal as refusal:
                log.warning("the health is not told: %s", refusal)


async def _fail_when_broken(database: Database) -> None:
    await database.broken.wait()
    assert database.fault is not None
    raise database.fault
