"""A supervisor just large enough to run the real gateway in a process of its own: real sockets, real messages.

Owns the doors and the control channel. Who a peer is, it is told by the test; it starts no workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from gateway.config import load
from gateway.config.resolve import read_host, resolve
from supervisor.channel import Channel, close_all, pair
from supervisor.messages import (
    Claim,
    Claimed,
    Identity,
    Live,
    Message,
    Processes,
    ProcessTable,
    Ready,
    Reload,
    Retire,
    Retired,
    Spawn,
    SpawnFailed,
    Take,
    Whois,
)

SECONDS = 20
START = "import socket, sys; from gateway.main import run; run(socket.socket(fileno=int(sys.argv[1])))"


def resolved(settings: Mapping[str, Any]) -> bytes:
    """The document `gateway.config --resolve` would print for these settings."""
    loaded = load(environ={}, overrides=settings)
    return msgspec.json.encode(resolve(loaded, read_host(loaded.settings)))


class Overseer:
    """Doors that outlive any gateway, and one gateway at a time behind them."""

    def __init__(self, place: Path, nursery: trio.Nursery, names: tuple[str, ...]) -> None:
        self.place = place
        self.doors = {name: self._open_door(place / f"{name}.sock") for name in names}
        self.identities: dict[int, Identity] = {}
        self.tickets: dict[str, str] = {}
        self.heard: list[Message] = []
        self.settings: dict[str, Any] = {}
        self.generation = 0
        self.process: subprocess.Popen[bytes]
        self.channel: Channel
        self._nursery = nursery
        self._heard_more = trio.Event()

    @staticmethod
    def _open_door(path: Path) -> socket.socket:
        door = socket.socket(socket.AF_UNIX)
        door.bind(str(path))
        door.listen(1024)
        return door

    def path(self, door: str) -> str:
        return str(self.place / f"{door}.sock")

    @property
    def log(self) -> str:
        return (self.place / "log").read_text()

    async def start(self) -> subprocess.Popen[bytes]:
        """A gateway that has said Ready."""
        self._launch()
        self.generation += 1
        self._nursery.start_soon(self._serve, self.channel)
        take = Take(self.generation, list(self.doors), str(self.place), str(self.place), os.getpid(), None)
        document = self._memfd()
        self.channel.send_nowait(take, [*(door.fileno() for door in self.doors.values()), document])
        os.close(document)
        self.channel.send_nowait(Live([], {}))
        await self.wait_for(Ready)
        return self.process

    def _launch(self) -> None:
        if self.generation:
            self.channel.close()
        ours, theirs = pair()
        environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        with (self.place / "log").open("ab") as log, theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", START, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], cwd="/", env=environment, stderr=log,
            )  # fmt: skip
        self.channel = Channel(ours)

    def reload(self, settings: dict[str, Any]) -> None:
        """Give the gateway another configuration."""
        self.settings = settings
        document = self._memfd()
        self.channel.send_nowait(Reload(), [document])
        os.close(document)

    async def retire(self) -> int:
        """Ask it to go, and wait until it has; its exit code."""
        self.channel.send_nowait(Retire("test"))
        await self.wait_for(Retired)
        return await self.ended()

    async def ended(self, patience: float = SECONDS) -> int:
        """Wait until it has ended; its exit code."""
        pidfd = os.pidfd_open(self.process.pid)
        try:
            with trio.fail_after(patience):
                await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        return self.process.wait(SECONDS)

    async def wait_for(self, kind: type[Message]) -> Message:
        """The first message of this kind from the gateway that runs now."""
        with trio.fail_after(SECONDS):
            while True:
                for message in self.heard:
                    if isinstance(message, kind) and getattr(message, "generation", self.generation) == self.generation:
                        return message
                self._heard_more = trio.Event()
                await self._heard_more.wait()

    def _memfd(self) -> int:
        fd = os.memfd_create("configuration")
        os.write(fd, resolved(self.settings))
        return fd

    async def _serve(self, channel: Channel) -> None:
        while (received := await channel.receive()) is not None:
            message, fds = received
            close_all(fds)
            self.heard.append(message)
            self._heard_more.set()
            if (answer := self._answer(message)) is not None:
                channel.send_nowait(answer)
        channel.close()

    def _answer(self, message: Message) -> Message | None:
        match message:
            case Whois(id=id, pid=pid):
                return self._identity(id, pid)
            case Claim(id=id, spawn=spawn, ticket=ticket):
                return Claimed(id, self.tickets.pop(spawn, None) == ticket, "not the one it had")
            case Processes(id=id):
                return ProcessTable(id, [])
            case Spawn(id=id):
                return SpawnFailed(id, "there are no workers here")
            case _:
                return None

    def _identity(self, id: int, pid: int) -> Identity:
        known = self.identities.get(pid, Identity(0, "none"))
        return Identity(id, known.kind, known.spawn, known.agent, known.session)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(SECONDS)
        self.channel.close()
        for door in self.doors.values():
            door.close()


@asynccontextmanager
async def overseen(place: Path, *names: str, **settings: Any) -> AsyncIterator[Overseer]:
    """A running gateway behind doors with these names; `settings` as dotted keys with `__` for the dot."""
    async with trio.open_nursery() as nursery:
        overseer = Overseer(place, nursery, names or ("agents", "operator"))
        overseer.settings = {name.replace("__", "."): value for name, value in settings.items()}
        try:
            await overseer.start()
            yield overseer
        finally:
            overseer.close()
            nursery.cancel_scope.cancel()
