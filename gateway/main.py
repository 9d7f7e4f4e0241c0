"""The gateway process: puts the parts together, starts them in order and stops them in order.

Order of starting: Take and Live from the supervisor, database and services, doors, Ready. Order of stopping (Retire or
SIGTERM): no more accepting, `shutdown` told, calls in progress answered, connections ended, services and database
closed, Retired, exit 0; whoever is still starting does only the last of these. Exit codes: 0 retired; 70 the supervisor
is gone or we broke; 74 the disk does not let us start now; 75 a newer gateway has the database; 78 the configuration or
the database we were given cannot be used, and starting again would not change that."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from gateway.auth.facts import PeerFacts, Policy
from gateway.auth.principal import Kind, Principal, Refusal, Verdict
from gateway.config import Resolved
from gateway.connection import Connection
from gateway.control import SupervisorGone, SupervisorLink, Taken
from gateway.descriptors import read_memfd
from gateway.greet.unix import UnixGreeting
from gateway.handlers import HANDLERS
from gateway.hello import Greeter
from gateway.house import House
from gateway.link.unix import UnixLink
from gateway.listen.unix import UnixDoor
from gateway.logs import set_level, start_logging
from gateway.protocol.frames import MSGPACK
from gateway.protocol.limits import FLOOD_CONNECTS, MAX_HELLO_BYTES, TICK_INTERVAL_MS
from gateway.readiness import check_outside
from gateway.registry import Registry
from gateway.resources import give_memory_back, own_weight, raise_descriptor_limit
from gateway.router import Router
from gateway.services import Services, open_services
from gateway.services.events import Hub, Member
from gateway.stopping import HEARD, Stop
from gateway.store.faults import EpochLost, Unusable, Unwilling
from supervisor.messages import Beat, Drain, Exited, Notice, Quarantined, Ready, Reload, Retire, Retired

if TYPE_CHECKING:
    from gateway.outside import Outside

_log = logging.getLogger("gateway.main")

BEAT_SECONDS = 1.0
WEIGH_EVERY = 30
"""Beats between two looks at our own memory: the kernel walks every page for it."""
RETURN_SECONDS = 0.2
"""After another gateway: who was connected comes back first; a thread that imports has Python's lock 5 ms each time."""
RESTART_EXPECTED_MS = 1000
"""When clients may look for the next gateway, at the latest; it takes a tenth of it."""
STOP_SECONDS = 3.0
"""From the request to retire until what is left is cut off."""
EX_SOFTWARE, EX_IOERR, EX_TEMPFAIL, EX_CONFIG = 70, 74, 75, 78


def run(control: socket.socket) -> None:
    """Be the gateway on this control channel until told to retire. Always leaves by SystemExit."""
    start_logging()
    raise SystemExit(trio.run(_main, control))


async def _main(control: socket.socket) -> int:
    link = SupervisorLink(control)
    code = 0
    try:
        with trio.open_signal_receiver(*HEARD) as received:
            await _serve_until_told(link, received)
    except* EpochLost as lost:
        _log.error("a newer gateway has the database", extra={"error": str(lost.exceptions[0])})
        code = EX_TEMPFAIL
    except* SupervisorGone as gone:
        _log.error("the supervisor is gone", extra={"error": str(gone.exceptions[0])})
        code = code or EX_SOFTWARE
    except* msgspec.DecodeError as error:
        _log.error("the configuration cannot be read", extra={"error": str(error.exceptions[0])})
        code = EX_CONFIG
    except* Unusable as unusable:
        _log.error(str(_first(unusable)))
        code = EX_CONFIG
    except* Unwilling as unwilling:
        _log.error(str(_first(unwilling)))
        code = code or EX_IOERR
    except* Exception:
        _log.exception("the gateway broke")
        code = code or EX_SOFTWARE
    return code


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first of what may be nested."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _serve_until_told(link: SupervisorLink, received: AsyncIterator[int]) -> None:
    stop = Stop()
    taken: Taken | None = None
    async with trio.open_nursery() as background:
        background.start_soon(stop.serve_signals, received)
        with stop.starting:
            taken = await link.wait_taken()
            resolved = msgspec.json.decode(taken.document, type=Resolved)
            set_level(resolved.settings.logging.level)
            await Gateway(link, taken, resolved, stop).serve(background)
        if taken is not None:
            link.send_nowait(Retired(taken.take.generation))
            await link.flush()
        background.cancel_scope.cancel()


def policy_of(resolved: Resolved) -> Policy:
    """Which uids are whom, from the configuration as the supervisor resolved it for this machine."""
    mine = resolved.supervisor
    return Policy(
        owner=os.geteuid(),
        operators=frozenset(mine.operators.uids),
        operator_gid=mine.operators.gid,
        foreign={int(uid): frozenset(scopes) for uid, scopes in mine.foreign.items()},
        agent_uids=mine.uids.members if mine.uids else range(0),
    )


class Gateway:
    """One gateway between Take and Retired."""

    def __init__(self, link: SupervisorLink, taken: Taken, resolved: Resolved, stop: Stop) -> None:
        self._link = link
        self._taken = taken
        self._settings = resolved.settings
        self._policy = policy_of(resolved)
        self._stop = stop
        self._hub = Hub()
        self._registry = Registry(self._flooded)
        self._outside: Outside | None = None
        self._started = time.monotonic()

    async def serve(self, background: trio.Nursery) -> None:
        """Open everything, serve until told to stop, close everything in order; the link outlives it in
        `background`."""
        raise_descriptor_limit()
        taken = self._taken
        # Heard while the database is opened: that may take as long as a disk is full. All else waits for its listeners.
        self._link.on(Retire, lambda said: self._stop.say(said.reason))
        self._link.keep()
        await background.start(self._link.serve)
        async with open_services(
            self._settings, Path(taken.take.state_dir), self._link, self._hub, taken.rows, taken.take.generation,
            quarantined=taken.quarantined, waiting=lambda why: self._link.send_nowait(Beat(status=why)),
        ) as services:  # fmt: skip
            self._stop.started()
            house = self._furnish(services)
            self._listen_to_supervisor(services)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._tick)
                    nursery.start_soon(self._beat)
                    await self._serve_doors(house, services)
                    nursery.cancel_scope.cancel()
            finally:
                self._link.deafen()  # the link outlives the services, which can follow nothing from here on
        for listener in (*taken.doors.values(), *taken.outer.values()):
            listener.close()

    def _furnish(self, services: Services) -> House:
        def refused(note: Refusal) -> None:
            reason = f"{note.message} [{note.detail}]" if note.detail else note.message
            services.refusals.note(
                code=note.code, door=note.door, peer=note.who, reason=reason, method=note.method or None
            )

        def joined(connection: Member) -> None:
            if connection.principal.kind is Kind.WORKER:
                services.workers.attach(connection, connection.principal)
            services.presence.arrive(connection.id, connection.principal, connection.connect)

        def left(connection: Member) -> None:
            if connection.principal.kind is Kind.WORKER:
                services.workers.detach(connection, connection.principal)
            services.presence.depart(connection.id)

        router = Router(HANDLERS, services, refused=refused)
        greeter = Greeter(services.info.version, router.methods_for)
        services.counters["connections"] = lambda: self._hub.connections
        services.counters["status"] = self._status
        return House(
            router, greeter, self._hub, self._registry, self._link.claim, joined, left, refused, self._uptime_ms
        )

    def _flooded(self, principal: Principal) -> None:
        """An agent that connects without end is held until an operator has looked at it."""
        why = f"{principal.name} was turned away {FLOOD_CONNECTS} times and went on connecting"
        _log.error("connection flood", extra={"who": principal.name, "agent": principal.agent})
        self._link.hold(principal.agent, True, why)

    def _uptime_ms(self) -> int:
        return round((time.monotonic() - self._started) * 1000)

    def _status(self) -> dict[str, Any]:
        take = self._taken.take
        return {
            "pid": os.getpid(),
            "doors": sorted(self._taken.doors),
            "runtimeDir": take.runtime_dir,
            "stateDir": take.state_dir,
            "logFile": take.log_file,
            "uptimeMs": self._uptime_ms(),
            "connections": self._hub.connections,
            "listeners": self._hub.listeners,
            "outerDoor": self._outside.report() if self._outside is not None else None,
        }

    # --- what the supervisor says -------------------------------------------------------------------------------------

    def _listen_to_supervisor(self, services: Services) -> None:
        link = self._link

        def exited(message: Exited) -> None:
            self._registry.end_worker(message.spawn)
            services.workers.exited(message)

        link.on(Exited, exited)
        link.on(Quarantined, lambda said: services.agents.quarantined(said.agent, said.on, said.reason))
        link.on(Notice, self._notice)
        link.on(Drain, lambda said: services.drain(said.reason))
        link.on_with_descriptors(Reload, lambda _, fds: self._reload(services, fds))
        link.release()

    def _notice(self, said: Notice) -> None:
        about = {"agentId": said.agent, "sessionKey": said.session, "fix": said.fix}
        payload = {"level": said.level, "code": said.code, "message": said.text}
        self._hub.publish("notice", payload | {name: value for name, value in about.items() if value})

    def _reload(self, services: Services, fds: list[int]) -> None:
        try:
            resolved = msgspec.json.decode(read_memfd(fds[0]), type=Resolved)
        except (msgspec.DecodeError, IndexError, OSError) as error:
            _log.error("the new configuration cannot be read; the old one stays", extra={"error": str(error)})
            return
        self._policy = policy_of(resolved)
        set_level(resolved.settings.logging.level)
        services.reload(resolved.settings)
        if self._outside is not None:
            self._outside.reload()
        _log.info("configuration reloaded")

    # --- the doors ----------------------------------------------------------------------------------------------------

    async def _serve_doors(self, house: House, services: Services) -> None:
        async with trio.open_nursery() as conversations:

            async def converse(
                sock: socket.socket, door: str, facts: PeerFacts, verdict: Verdict, greeted: Callable[[], None]
            ) -> None:
                greeting = UnixGreeting(facts, verdict, house)
                opening = partial(UnixLink, sock, limit=MAX_HELLO_BYTES, sender=facts.pid, gather=True)
                await Connection(opening, MSGPACK, greeting, door, house).serve(greeted)

            async with trio.open_nursery() as accepting:
                for name, listener in self._taken.doors.items():
                    whois = self._link.whois
                    door = UnixDoor(name, listener, whois=whois, policy=lambda: self._policy, converse=converse)
                    accepting.start_soon(door.serve, conversations)
                if self._taken.outer:
                    await check_outside(self._taken, services.settings.gateway)
                    accepting.start_soon(self._open_outside, house, services, conversations)
                self._say_ready(services)
                await self._stop.wait()
                accepting.cancel_scope.cancel()
            _log.info("retiring", extra={"reason": self._stop.reason, "connections": len(self._registry)})
            conversations.cancel_scope.deadline = trio.current_time() + STOP_SECONDS
            self._hub.publish("shutdown", self._farewell(services))
            self._registry.retire_all()
            if self._outside is not None:
                self._outside.retire()

    async def _open_outside(self, house: House, services: Services, conversations: trio.Nursery) -> None:
        """Late and in a thread: what it imports would keep the Unix doors waiting after a death."""
        await trio.sleep(RETURN_SECONDS if self._taken.take.generation > 1 else 0)
        module = await trio.to_thread.run_sync(import_module, "gateway.outside")
        self._outside = module.Outside(self._taken, house, services, self._link, self._hub, lambda: self._policy)
        await self._outside.serve(conversations)

    def _farewell(self, services: Services) -> dict[str, Any]:
        """Where no stop of the whole system was announced (draining), another gateway takes over."""
        said: dict[str, Any] = {"reason": self._stop.reason}
        return said if services.engine.draining is not None else said | {"restartExpectedMs": RESTART_EXPECTED_MS}

    def _say_ready(self, services: Services) -> None:
        generation = self._taken.take.generation
        self._link.send_nowait(Ready(generation, services.info.epoch))
        _log.info("ready", extra={"generation": generation, "epoch": services.info.epoch, "pid": os.getpid()})

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK_INTERVAL_MS / 1000)
            self._hub.publish("tick", {"ts": round(time.time() * 1000)})

    async def _beat(self) -> None:
        weight = (0, 0, 0)
        for count in itertools.count():
            if count % WEIGH_EVERY == 0:
                give_memory_back()
                weight = own_weight()
            self._link.send_nowait(Beat(*weight))
            await trio.sleep(BEAT_SECONDS)
