"""The outer door, put together: listening sockets, certificate, HTTP, WebSockets, greetings. Imported late.

Owns the outer door's part of the gateway's life: `serve` opens it and accepts until it is cancelled, `reload` follows
the configuration, `retire` ends those who are not in yet. Nothing that happens here ends a Unix door."""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio

from gateway.auth.facts import Policy
from gateway.auth.origin import Names, names_from, parse_address
from gateway.auth.proxies import Headers, is_trusted
from gateway.auth.ratelimit import SCOPES, RateLimiter
from gateway.auth.secrets import Secrets
from gateway.connection import Connection
from gateway.control import SupervisorLink, Taken
from gateway.greet.desk import Arrival, Desk, snapshot_of
from gateway.greet.outer import OuterGreeting
from gateway.greet.policy import OuterPolicy, generated_token, lasts, needs_token, outer_policy
from gateway.house import House
from gateway.link import websocket
from gateway.link.base import LinkLost
from gateway.link.bounds import Early
from gateway.listen.certificate import BadCertificate, addresses_of, names_of
from gateway.listen.http import HEAD_SECONDS, Front, Rules, Standing, say_not_tls
from gateway.listen.tcp import Crowd, TcpDoor, Visit, plain
from gateway.listen.tls import TlsKeeper
from gateway.protocol.errors import CloseReason
from gateway.protocol.frames import JSON
from gateway.protocol.limits import MAX_HELLO_BYTES
from gateway.readiness import check_mode, speaks_tls
from gateway.services import Services
from gateway.services.events import Hub

_log = logging.getLogger("gateway.outside")

EARLY_BYTES = 4 * MAX_HELLO_BYTES
"""What a peer may send behind its request before it has been let in: `connect`, and a little behind that."""
NONCE_BYTES = 16
REOPEN_SECONDS = 2.0


class _Source(msgspec.Struct):
    """Of the resolved document: which file it was read from."""

    source: str | None = None


class Outside:
    """The outer door of one gateway. `policy` says who is an operator of this machine: in mode none only they come in
    from it."""

    def __init__(
        self,
        taken: Taken,
        house: House,
        services: Services,
        link: SupervisorLink,
        hub: Hub,
        policy: Callable[[], Policy],
    ) -> None:
        gateway, listeners, state_dir = services.settings.gateway, taken.outer, Path(taken.take.state_dir)
        about = {"configPath": msgspec.json.decode(taken.document, type=_Source).source, "stateDir": str(state_dir)}
        self._listeners = dict(sorted(listeners.items()))
        self._house = house
        self._services = services
        self._who = policy
        self._state_dir = state_dir
        self._token: str | None = None
        self._known: set[Connection] = set()  # those that are being greeted included: none may slip past a removal
        self._retiring = False
        self._addresses = list(dict.fromkeys(plain(one.getsockname()[0]) for one in listeners.values()))
        # Which sockets there are and whether they speak TLS is settled at the start; a reload changes neither.
        wanted, tls = names_of(self._addresses, gateway.host_names), speaks_tls(gateway, self._addresses)
        self._keeper = TlsKeeper(gateway.tls, state_dir, wanted) if tls else None
        self._policy = OuterPolicy(Secrets("token", "", ""))
        limiter = self._limiter = RateLimiter(self._policy.rate)
        self._crowd = Crowd()
        self._desk = Desk(
            house, services.pairing, lambda: self._policy, limiter, link.holder, lambda: round(time.time() * 1000),
            lambda: secrets.token_urlsafe(NONCE_BYTES),
            snapshot_of(services, house.uptime_ms, lambda: hub.versions, about),
        )  # fmt: skip
        rules = Rules(self._read_names, lambda: self._policy.proxies, self._locked_ms, self._standing)
        self._front = Front(rules, self._upgrade)
        self._doors = [self._door(name, listener) for name, listener in listeners.items()]

    def _door(self, name: str, listener: socket.socket) -> TcpDoor:
        keeper = self._keeper
        return TcpDoor(
            name, listener, tls=keeper is not None, context=lambda: keeper.context if keeper else None,
            crowd=self._crowd, is_proxy=self._is_proxy, front=self._front.serve, turn_away=say_not_tls,
        )  # fmt: skip

    # --- its life -----------------------------------------------------------------------------------------------------

    async def serve(self, conversations: trio.Nursery) -> None:
        """Be open for ever; connections live in `conversations`. What goes wrong is logged and tried again."""
        self._services.pairing.on_invalidated(self._invalidated)
        self._services.counters["door"] = self.report
        self._services.counters["connectedDevices"] = lambda: {one.principal.device for one in self._live()} - {""}
        while True:
            try:
                await self._open()
                await self._accept(conversations)
            except (OSError, ValueError) as error:
                _log.error("the outer door stays shut; the Unix doors go on", extra={"error": str(error)})
            except Exception:
                _log.exception("the outer door broke and is opened again; the Unix doors go on")
            await trio.sleep(REOPEN_SECONDS)

    async def _open(self) -> None:
        """Token and certificate, made if need be. Raises OSError or ValueError for the token. Without a certificate the
        door is open and lets nobody in; the keeper looks for one."""
        if self._token is None and needs_token(self._services.settings.gateway):
            self._token = await trio.to_thread.run_sync(generated_token, self._state_dir)
        self._policy = self._read_policy()
        self._limiter.rule = self._policy.rate
        try:
            if self._keeper is not None:
                await self._keeper.open()
        except BadCertificate as error:
            _log.error("nobody is let in at the outer door", extra={"error": str(error)})

    async def _accept(self, conversations: trio.Nursery) -> None:
        ends = [one.getsockname() for one in self._listeners.values()]
        shown = [f"{plain(end[0])} port {end[1]}" for end in ends]
        _log.info("outer door open", extra={"addresses": shown, "tls": self._keeper is not None})
        async with trio.open_nursery() as nursery:
            if self._keeper is not None:
                nursery.start_soon(self._keeper.serve)
            for door in self._doors:
                nursery.start_soon(door.serve, conversations)

    def retire(self) -> None:
        """End those who have not been let in; the others are the registry's."""
        self._retiring = True
        for door in self._doors:
            door.retire()

    def reload(self) -> None:
        """Take over what the new settings say. Whoever came in by a rule that is no longer it has to come again."""
        before = self._policy
        try:
            if self._token is None and needs_token(self._services.settings.gateway):
                self._token = generated_token(self._state_dir)
            self._policy = self._read_policy()
        except (OSError, ValueError) as error:
            _log.error("the outer door keeps its old rules", extra={"error": str(error)})
            return
        self._limiter.rule = self._policy.rate
        for connection in self._live():
            if not lasts(connection.principal.method, before, self._policy):
                connection.end(CloseReason.AUTH_CHANGED, CloseReason.AUTH_CHANGED.value)

    def report(self) -> dict[str, Any]:
        """For `status` and setup codes: where it is open, and who is before it."""
        facts = self._keeper.facts if self._keeper else None
        ends = [list(one.getsockname()[:2]) for one in self._listeners.values()]
        told: dict[str, Any] = {
            "addresses": ends, "tls": self._keeper is not None, "connections": len(self._live()),
            "ungreeted": len(self._crowd),
            "urls": urls_of(ends, self._services.settings.gateway.host_names, tls=self._keeper is not None),
        }  # fmt: skip
        if facts is not None and self._keeper is not None:
            told |= {"fingerprint": facts.fingerprint, "lacking": self._keeper.lacking}
        return told

    def _read_policy(self) -> OuterPolicy:
        gateway, mine = self._services.settings.gateway, self._who()
        check_mode(gateway, self._addresses)
        operators = mine.operators | {0, mine.owner}
        return outer_policy(gateway, operators=operators, token=self._token)

    def _read_names(self) -> Names:
        facts = self._keeper.facts if self._keeper else None
        return names_from(
            self._addresses, [*self._services.settings.gateway.host_names, *(facts.names if facts else ())]
        )

    # --- what the front asks ------------------------------------------------------------------------------------------

    def _locked_ms(self, bucket: str) -> int:
        """Only who is locked out in every way: a wrong token keeps no paired device from coming."""
        now = round(trio.current_time() * 1000)
        return min(self._limiter.locked_ms(scope, bucket, now) for scope in SCOPES)

    def _standing(self) -> Standing:
        draining = self._retiring or self._services.engine.draining is not None
        return Standing.DRAINING if draining else Standing.STARTED

    def _is_proxy(self, address: str) -> bool:
        ip = parse_address(address)
        return ip is not None and is_trusted(ip, self._policy.proxies)

    # --- conversations ------------------------------------------------------------------------------------------------

    async def _upgrade(self, visit: Visit, headers: Headers) -> None:
        visit.stream.early = Early(EARLY_BYTES)
        async with trio.open_nursery() as reading:
            try:
                # Before the handshake: a WebSocket that is open has been looked at.
                first = await self._desk.look(visit.local, visit.remote)
                with trio.fail_after(HEAD_SECONDS):
                    link = await websocket.accept(reading, visit.stream, limit=MAX_HELLO_BYTES)
            except (LinkLost, trio.TooSlowError) as error:
                _log.debug("no WebSocket", extra={"door": visit.door, "address": visit.remote[0], "error": str(error)})
            else:
                arrival = Arrival(visit.door, visit.local, visit.remote, first, headers)
                await self._converse(visit, arrival, link)
            reading.cancel_scope.cancel()

    async def _converse(self, visit: Visit, arrival: Arrival, link: websocket.WebSocketLink) -> None:
        greeting = OuterGreeting(arrival, self._desk)
        connection = Connection(link.attach, JSON, greeting, visit.door, self._house)

        self._known.add(connection)
        try:
            await connection.serve(visit.settle)
        finally:
            self._known.discard(connection)

    def _live(self) -> list[Connection]:
        """Connections of those who have been let in."""
        return [one for one in self._known if one.is_greeted]

    def _invalidated(self, device: str, role: str | None, why: str) -> None:
        """A device was removed, or lost a token: its connections end, and do nothing from here on."""
        for connection in self._live():
            principal = connection.principal
            if principal.device == device and role in (None, principal.role):
                connection.bar(f"client invalidated: {why}")


def urls_of(ends: Iterable[Sequence[Any]], host_names: Iterable[str], *, tls: bool) -> list[str]:
    """What devices may dial, the likeliest first: configured names, then the addresses (this machine's for a wildcard)
    that others can reach; loopback where there is nothing else."""
    scheme = "wss" if tls else "ws"
    named: list[tuple[str, int]] = []
    far: list[tuple[str, int]] = []
    near: list[tuple[str, int]] = []
    for host, port in ends:
        named += [(name, port) for name in host_names]
        for address in addresses_of([host]):
            ip = parse_address(address)
            (near if ip is None or ip.is_loopback else far).append((address, port))
    found = dict.fromkeys([*named, *far] or near)
    return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}" for host, port in found]
