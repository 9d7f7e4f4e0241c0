"""The outer door to be measured, and the bare echoes beside it: where guests come in, and what loads they make.

Owns the devices that connect, each approved by an operator as any other, and the echoes' processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.bench.load import percentile
from tests.bench.ws_load import Address, Guest, Saying, call, closed_loop, cpu_seconds, greet, round_trips, trusting
from tests.gateway.auth.signing import TestDevice
from tests.support.system import System, running

TOKEN = "the shared token"
CONNECT: dict[str, Any] = {"scopes": ["operator.read", "operator.write"], "auth": {"token": TOKEN}}
"""What a device says besides who it is: with the shared token, as on its first day."""
PER_DEVICE = 60
"""Connections of one device; it may have 64."""
AT_ONCE = 16
"""Threads that connect many; one address may have 32 that are not let in yet."""
FEW = 64
CALLS = 1500
SECONDS, ROUNDS = 0.15, 2
"""How long each load lasts, and how often; the best counts, because a neighbour only ever takes away."""
FRAMES = 6000
READ, HEALTH = "last-heartbeat", "health"
"""The cheapest read there is at this door (its answer is always null), and the full snapshot."""


@dataclass(frozen=True, slots=True)
class Load:
    """One shape of load; its budget is a rate."""

    what: str
    method: str
    connections: int
    window: int
    budget: float | None = None


@cache
def frames(method: str, *, masked: bool) -> list[bytes]:
    """Enough calls for one connection."""
    return [call(str(index), method, {}, masked=masked) for index in range(FRAMES)]


LOADS = (
    Load(f"{READ}, 1 connection", READ, 1, 1),
    Load(f"{READ}, 16 connections", READ, 16, 1, 11_000),
    Load(f"{READ}, 64 connections", READ, 64, 1),
    Load(f"{READ}, 16 in flight on one", READ, 1, 16, 15_000),
    Load(f"{HEALTH}, 16 connections", HEALTH, 16, 1, 9_000),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What `Door` measures, in its units."""

    round_trip: float
    best: dict[str, tuple[float, float]]


@dataclass
class Door:
    """Somewhere guests can come in. `name` is how they speak. Where bytes are echoed as they are, their frames are not
    masked, so that what comes back looks like an answer."""

    name: str
    address: Address
    pid: int
    guests: list[Guest] = field(default_factory=list)
    masked: bool = True

    def best(self, load: Load) -> tuple[float, float]:
        """Answers a second, and microseconds of the server's CPU for each."""
        rates, costs, calls = [], [], frames(load.method, masked=self.masked)
        for _ in range(ROUNDS):
            before = cpu_seconds(self.pid)
            done, took = closed_loop(self.guests[: load.connections], calls, SECONDS, load.window)
            rates.append(done / took)
            costs.append((cpu_seconds(self.pid) - before) / done * 1e6)
        return max(rates), min(costs)

    def round_trip(self) -> float:
        """Microseconds of one call at a time: p50."""
        return percentile(round_trips(self.guests[0], frames(READ, masked=self.masked)[:CALLS]), 50) * 1e6

    def figures(self) -> Figures:
        """The round trip, and what each load makes of it."""
        return Figures(self.round_trip(), {load.what: self.best(load) for load in LOADS})


@dataclass
class Gate(Door):
    """A system's outer door."""

    system: System = field(kw_only=True)

    def pair(self) -> TestDevice:
        """A device an operator has approved."""
        device = TestDevice()
        guest, answer = greet(self.address, device_says(device))
        guest.close()
        self.system.call("device.pair.approve", {"requestId": answer["error"]["details"]["requestId"]})
        return device

    def grow(self, count: int) -> None:
        """Have so many guests."""
        missing = count - len(self.guests)
        devices = [self.pair() for _ in range(0, missing, PER_DEVICE)]
        sayings = [device_says(devices[index // PER_DEVICE]) for index in range(missing)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            self.guests += pool.map(self.enter, sayings)

    def enter(self, saying: Saying) -> Guest:
        """One guest who was let in."""
        guest, answer = greet(self.address, saying)
        if not answer["ok"]:
            raise AssertionError(answer)
        return guest


def device_says(device: TestDevice) -> Saying:
    """The connect of a device, signed over the challenge."""
    return lambda nonce, ts: device.tree(nonce=nonce, now=ts, **CONNECT)


def nobody_says(nonce: str, ts: int) -> dict[str, Any]:
    """The connect of a client without a device."""
    tree = TestDevice().tree(scopes=CONNECT["scopes"])
    del tree["device"]
    return tree


@contextmanager
def gate(name: str, **auth: str) -> Iterator[Gate]:
    """The door of a system of its own, on loopback."""
    tls = name == "TLS"
    gateway = {"bind": "loopback", "tls": {"enabled": tls}, "auth": auth}
    with running({"gateway": gateway, "logging": {"level": "error"}}) as system:
        told = json.loads((system.runtime / "status.json").read_text())
        host, _, port = str(told["addresses"][0]).rpartition(":")
        address = Address(host, int(port), trusting() if tls else None)
        one = Gate(name, address, system.gateway_pid(), system=system)
        yield one
        for guest in one.guests:
            guest.close()


@contextmanager
def echo(kind: str) -> Iterator[Door]:
    """A bare echo of `tests.bench.ws_echo`, with its guests."""
    command = [sys.executable, "-m", "tests.bench.ws_echo", kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = Address("127.0.0.1", int(process.stdout.readline()))
            upgrade = kind == "websocket"
            guests = [Guest(address, upgrade=upgrade) for _ in range(FEW)]
            yield Door(kind, address, process.pid, guests, masked=upgrade)
            for guest in guests:
                guest.close()
        finally:
            process.kill()


def anonymous(pid: int) -> int:
    """Bytes of memory that are a process's own (RssAnon)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
