"""An outer door of the tests: real services, router, connections and greetings; frames are JSON over socket pairs."""

from __future__ import annotations

import itertools
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
import trio
from msgspec.structs import replace

from gateway.auth.principal import Refusal
from gateway.auth.ratelimit import RateLimiter
from gateway.connection import Connection
from gateway.greet.desk import Arrival, Desk, snapshot_of
from gateway.greet.outer import OuterGreeting
from gateway.greet.policy import OuterPolicy, outer_policy
from gateway.handlers import HANDLERS
from gateway.hello import Greeter
from gateway.house import House
from gateway.link.unix import UnixLink
from gateway.protocol.errors import CLOSE_CODES, POLICY_CLOSE, TOLD_REASONS, CloseReason
from gateway.protocol.frames import JSON, pack
from gateway.protocol.limits import MAX_HELLO_BYTES
from gateway.registry import Registry
from gateway.router import Router
from gateway.services.events import Hub
from supervisor.messages import Claimed, Held
from tests.gateway.auth.signing import TestDevice
from tests.support.doors import operator
from tests.support.engine import Box, open_box, settings_from, wall_clock

TOKEN = "the shared token"
AFAR, HERE = "192.0.2.7", "127.0.0.1"
REMOTE = Held(1, "remote")
VERSIONS = {"presence": 1, "health": 2}


class JsonLink(UnixLink):
    """Length-prefixed JSON; the last words are what a WebSocket's Close frame would be."""

    def farewell(self, reason: CloseReason, detail: str) -> None:
        code = CLOSE_CODES.get(reason, POLICY_CLOSE)
        text = (detail or reason.value) if reason in TOLD_REASONS else reason.value
        self.send_nowait(msgspec.json.encode({"close": [code, "" if reason is CloseReason.HELLO_TIMEOUT else text]}))


class Guest:
    """A client's end."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = trio.socket.from_stdlib_socket(sock)
        self._buffer = b""
        self.nonce, self.ts = "", 0

    async def send(self, frame: Any) -> None:
        data = pack(frame if isinstance(frame, bytes) else msgspec.json.encode(frame))
        while data:
            data = data[await self.sock.send(data) :]

    async def hear(self) -> dict[str, Any]:
        """The next frame; {"close": None} when it ended without one."""
        while len(self._buffer) < 4 or len(self._buffer) < 4 + int.from_bytes(self._buffer[:4], "big"):
            data = await self.sock.recv(65536)
            if not data:
                return {"close": None}
            self._buffer += data
        size = int.from_bytes(self._buffer[:4], "big")
        body, self._buffer = self._buffer[4 : 4 + size], self._buffer[4 + size :]
        return cast("dict[str, Any]", msgspec.json.decode(body))

    async def challenged(self) -> dict[str, Any]:
        event = await self.hear()
        self.nonce, self.ts = event["payload"]["nonce"], event["payload"]["ts"]
        return event

    async def say(self, params: dict[str, Any]) -> dict[str, Any]:
        """Connect with these parameters; the answer, with the Close frame after a refusal in `close`."""
        await self.send({"type": "req", "id": "1", "method": "connect", "params": params})
        answer = await self.hear()
        if answer.get("ok") is False:
            answer |= await self.hear()
            assert await self.hear() == {"close": None}  # then it has been written down as well
        return answer

    async def knock(self, device: TestDevice | None = None, **more: Any) -> dict[str, Any]:
        """Connect as OpenClaw's command line would, with the shared token unless told otherwise."""
        params = {"auth": {"token": TOKEN}} | more
        if device is not None:
            return await self.say(device.tree(nonce=self.nonce, now=self.ts, **params))
        tree = TestDevice().tree(**params)
        del tree["device"]
        return await self.say(tree)


@dataclass
class Front:
    """The door and what is behind it. `holds`: what the supervisor answers, in turn; the last again and again."""

    box: Box
    nursery: trio.Nursery
    house: House
    registry: Registry
    policy: OuterPolicy
    refusals: list[Refusal]
    holds: list[Held] = field(default_factory=lambda: [REMOTE])
    asked: list[tuple[Any, Any]] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    guests: list[Guest] = field(default_factory=list)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        services = self.box.services
        self.limiter = RateLimiter(self.policy.rate)
        self.desk = Desk(
            self.house, services.pairing, lambda: self.policy, self.limiter, self._holder, lambda: round(wall_clock()),
            lambda: f"nonce-{next(numbers)}",
            snapshot_of(services, lambda: 7, lambda: VERSIONS, {"configPath": "/c", "stateDir": "/s"}),
        )  # fmt: skip

    async def _holder(self, local: tuple[str, int], remote: tuple[str, int]) -> Held:
        await trio.lowlevel.checkpoint()
        self.asked.append((local, remote))
        return self.holds.pop(0) if len(self.holds) > 1 else self.holds[0]

    async def guest(self, address: str = AFAR, headers: Sequence[tuple[str, str]] = ()) -> Guest:
        """A peer whose WebSocket is open, and that has heard the challenge."""
        ours, theirs = socket.socketpair()
        local, remote = ("192.0.2.1", 18789), (address, 40000)
        first = await self.desk.look(local, remote)
        greeting = OuterGreeting(Arrival("outer:0", local, remote, first, headers), self.desk)
        opening = partial(JsonLink, ours, limit=MAX_HELLO_BYTES)
        connection = Connection(opening, JSON, greeting, "outer:0", self.house)
        self.nursery.start_soon(connection.serve, lambda: None)
        self.connections.append(connection)
        guest = Guest(theirs)
        self.guests.append(guest)
        await guest.challenged()
        return guest

    async def knock(
        self, device: TestDevice | None = None, address: str = AFAR, headers: Sequence[tuple[str, str]] = (),
        **more: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """One connect of a guest of its own."""
        return await (await self.guest(address, headers)).knock(device, **more)

    async def paired(self, *scopes: str, role: str = "operator") -> TestDevice:
        """A device a person has approved."""
        device = TestDevice()
        answer = await self.knock(device, role=role, scopes=list(scopes))
        await self.box.services.pairing.approve(answer["error"]["details"]["requestId"], operator())
        return device

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """Requests a person can see."""
        return cast("list[dict[str, Any]]", msgspec.to_builtins(self.box.services.pairing.list(operator())["pending"]))

    async def audit(self) -> list[dict[str, Any]]:
        """What was written down, the oldest first."""
        await self.box.settle()
        lines = self.box.services.pairing.audit.lines()["entries"]
        return cast("list[dict[str, Any]]", msgspec.to_builtins(lines))


@asynccontextmanager
async def open_front(state_dir: Path, tree: dict[str, Any] | None = None, **policy: Any) -> AsyncIterator[Front]:
    """A door with the shared token TOKEN, unless `tree`, the configuration of `gateway`, says otherwise."""
    tree = tree or {"auth": {"token": TOKEN}}
    async with open_box(state_dir, tree={"gateway": tree}) as box, trio.open_nursery() as nursery:
        refusals: list[Refusal] = []
        hub, registry = Hub(), Registry()
        router = Router(HANDLERS, box.services, refused=refusals.append)

        async def claim(spawn: str, ticket: str) -> Claimed:
            raise AssertionError("nobody shows a ticket here")

        house = House(
            router, Greeter("0.1.0", router.methods_for), hub, registry, claim, lambda one: None, lambda one: None,
            refusals.append, lambda: 7,
        )  # fmt: skip
        rules = outer_policy(settings_from({"gateway": tree}).gateway, operators=frozenset({0, 1000}), token=None)
        front = Front(box, nursery, house, registry, replace(rules, **policy), refusals)
        try:
            yield front
        finally:
            nursery.cancel_scope.cancel()
            for guest in front.guests:
                guest.sock.close()
