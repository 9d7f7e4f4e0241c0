"""The outer door: what a client over a WebSocket waits for, and what it costs the gateway, with TLS and without.

The load is this process, the server another. Wall figures wander on a busy machine, the gateway's own CPU time for a
message hardly does, so both are told. A connect from this host includes two looks at who holds its socket, and so at
every descriptor of the machine; one from another host (`tests.bench.far`) has none."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable

from tests.bench import far
from tests.bench.door import FEW, LOADS, READ, TOKEN, Figures, Gate, device_says, echo, gate, nobody_says
from tests.bench.load import percentile
from tests.bench.row import Row
from tests.bench.ws_load import Guest, Saying, arrivals, cpu_seconds

HANDSHAKES, HANDSHAKE_SECONDS = 20, 2.0
"""As many connects as fit into that time, but not more."""
MANY = 500
"""Without TLS: so many handshakes would take longer than all the rest."""
EVENT_BYTES = 1024
CHANGED = b'{"type":"event","event":"sessions.changed"'
SESSIONS = [f"agent:main:fan{index}" for index in range(8)]
"""Changing one makes one event; what changes within a tenth of a second is told together."""
FAN_OUTS = 3
UPGRADE = "trio-websocket's upgrade alone, plain"


def rows() -> list[Row]:
    """Everything about the outer door; the two thousand idle connections come last."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with echo("tcp") as wire:
        found = [Row("a TCP echo on Trio, one caller, p50", wire.round_trip(), "µs")]
    with echo("websocket") as websocket:
        bare = websocket.figures()
        upgrade = _repeated(lambda: Guest(websocket.address))
    with gate("plain", mode="none") as one:
        found += [_connects(one, nobody_says, "without a device", upgrade)]
    for name in ("TLS", "plain"):
        with gate(name, token=TOKEN) as one:
            found += [_connects(one, device_says(one.pair()), "with a signed device", upgrade, 2.0)]
            one.grow(FEW)
            found += _calls(one, bare)
            crowd = _Crowd(one)
            found += crowd.fan_out(FEW)
            if name == "plain":
                one.grow(MANY)
                found += crowd.fan_out(MANY)
    return [*found, *far.rows()]


def _connects(gate: Gate, saying: Saying, who: str, floor: float, budget: float | None = None) -> Row:
    """From the first packet to hello-ok, one after the other."""
    took = _repeated(lambda: gate.enter(saying))
    return Row(f"connect {who}, {gate.name}, p50", took, "ms", budget, "low", floor, UPGRADE)


def _repeated(enter: Callable[[], Guest]) -> float:
    """Milliseconds that coming in takes: p50."""
    times: list[float] = []
    until = time.perf_counter() + HANDSHAKE_SECONDS
    while len(times) < HANDSHAKES and (began := time.perf_counter()) < until:
        guest = enter()
        times.append((time.perf_counter() - began) * 1000)
        guest.close()
    return percentile(times, 50)


def _calls(gate: Gate, bare: Figures) -> list[Row]:
    """One at a time, and every load, each beside trio-websocket's own echo without TLS."""
    own, floor = gate.figures(), "trio-websocket echo, plain"
    found = [Row(f"{READ}, one caller, {gate.name}, p50", own.round_trip, "µs", 220, "low", bare.round_trip, floor)]
    for load in LOADS:
        (rate, cost), (bare_rate, bare_cost) = own.best[load.what], bare.best[load.what]
        found += [
            Row(f"{load.what}, {gate.name}", rate, "/s", load.budget, "high", bare_rate, floor),
            Row("… CPU of the gateway for each", cost, "µs", None, "low", bare_cost, floor),
        ]
    return found


# --- one event to many ------------------------------------------------------------------------------------------------


class _Crowd:
    """Guests who hear of sessions, and the sessions whose changes they hear of."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._listening = 0
        self._listen(1)
        for key in SESSIONS:
            gate.system.call("sessions.create", {"key": key})
        arrivals(gate.guests[:1], CHANGED, len(SESSIONS))
        self._rename(SESSIONS[:1], "")
        size = len(json.dumps(gate.guests[0].hear(), separators=(",", ":")))
        self._label = "x" * ((EVENT_BYTES - size) // 2)  # it is there twice, also as the name that is displayed
        self._alone = self._cost()

    def fan_out(self, count: int) -> list[Row]:
        """One event to so many."""
        self._listen(count)
        each = (self._cost() - self._alone) / (count - 1) * 1e6
        return [
            Row(f"1 KiB event to {count} clients, {self._gate.name}, CPU for each", each, "µs"),
            Row("… until the last has it, after the first", self._spread() * 1000, "ms"),
        ]

    def _listen(self, count: int) -> None:
        for guest in self._gate.guests[self._listening : count]:
            guest.say("sessions.subscribe", {})
        self._listening = count

    def _cost(self) -> float:
        """CPU seconds of the gateway for one event, its cause included."""
        before = cpu_seconds(self._gate.pid)
        for number in range(FAN_OUTS):
            self._rename(SESSIONS, f"{self._label}{number}")
            self._heard(len(SESSIONS))
        return (cpu_seconds(self._gate.pid) - before) / FAN_OUTS / len(SESSIONS)

    def _spread(self) -> float:
        """Seconds between the first guest that has an event and the last."""
        found = []
        for number in range(FAN_OUTS):
            self._rename(SESSIONS[:1], f"{self._label}{number + FAN_OUTS}")
            times = self._heard(1)
            found.append(times[-1] - times[0])
        return percentile(found, 50)

    def _heard(self, each: int) -> list[float]:
        return arrivals(self._gate.guests[: self._listening], CHANGED, each)

    def _rename(self, keys: list[str], label: str) -> None:
        with self._gate.system.wire() as wire:
            for key in keys:
                wire.send("sessions.patch", {"key": key, "label": f"{key[-1]}{label}"})
            if not all([wire.read()["ok"] for _ in keys]):  # in whatever order
                raise AssertionError("a session was not changed")
