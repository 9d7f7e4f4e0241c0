"""How fast calls are answered: on a quiet system, from the command line, and beside agents that behave badly."""

from __future__ import annotations

import time

from tests.bench.door import READ
from tests.bench.floors import echo, python_start
from tests.bench.load import closed_loop, connect, frame, percentile, round_trips
from tests.bench.place import BURNERS, at_work, database
from tests.bench.row import Row
from tests.support.system import System

CALLS = 5000
PIPELINED = 64
COMMANDS = 15
SECONDS = 4.0
"""How long a cheap call is repeated beside somebody."""
PAUSE_SECONDS = 0.002


def rows(system: System) -> list[Row]:
    """Everything about calls, on one system."""
    return [*_unix(system), _command(system), *_beside(system)]


def _cheapest(identity: int) -> bytes:
    """The cheapest read of the database there is."""
    return frame(str(identity), "sessions.describe", {"key": "agent:echo:none"})


def _unix(system: System) -> list[Row]:
    """The cheapest call, as at the outer door, and the cheapest read of the database, one at a time and many in
    flight."""
    bare = echo()
    bodies = [_cheapest(index) for index in range(CALLS)]
    with connect(system.operator) as client:
        times = round_trips(client, [frame(str(index), READ, {}) for index in range(CALLS)])
        reading = round_trips(client, bodies)
        rate = percentile([closed_loop([client], bodies * 4, window=PIPELINED) for _ in range(3)], 50)
    return [
        Row(
            "RPC round trip, Unix door, one caller, p50", percentile(times, 50) * 1e6, "µs", 90,
            floor=bare["p50"], floor_is="Trio echo",
        ),
        Row(
            "… one that reads the database", percentile(reading, 50) * 1e6, "µs",
            floor=bare["p50"], floor_is="Trio echo",
        ),
        Row(
            f"pipelined RPC, Unix door, {PIPELINED} in flight", rate, "/s", 40_000, "high",
            bare["rate"], "Trio echo",
        ),
    ]  # fmt: skip


def _command(system: System) -> Row:
    """The command line, from exec to exit."""
    times = []
    for _ in range(COMMANDS):
        began = time.perf_counter()
        done = system.cli("health")
        times.append((time.perf_counter() - began) * 1000)
        if done.returncode:
            raise AssertionError(done.stderr)
    return Row(
        "peergate health, p50", percentile(times, 50), "ms", 100, floor=python_start(), floor_is="python -I -c pass"
    )


def _beside(system: System) -> list[Row]:
    """The cheapest read beside eight agents that burn CPU, and beside one that never stops talking. The floor is the
    same read with nobody at work."""
    quiet = _p99(system)
    with at_work(system, BURNERS):
        burning = _p99(system)
    with at_work(system, ["flood"]) as (run_id,):
        before, began = _events_of(system, run_id), time.perf_counter()
        flooded = _p99(system)
        rate = (_events_of(system, run_id) - before) / (time.perf_counter() - began)
    return [
        Row("cheap RPC while 8 agents burn CPU, p99", burning, "ms", 10, floor=quiet, floor_is="the same, all idle"),
        Row("cheap RPC while one agent floods events, p99", flooded, "ms", floor=quiet, floor_is="the same, all idle"),
        Row("events of the flooding agent on disk", rate, "/s"),
    ]


def _p99(system: System) -> float:
    """Milliseconds, by one caller with a short pause between calls."""
    times: list[float] = []
    until = time.monotonic() + SECONDS
    with connect(system.operator) as client:
        while time.monotonic() < until:
            times += round_trips(client, [_cheapest(1)])
            time.sleep(PAUSE_SECONDS)
    return percentile(times, 99) * 1000


def _events_of(system: System, run_id: str) -> int:
    """How many events of a run are on disk: asked of the file, so that asking costs the gateway nothing."""
    with database(system) as db:
        count: int = db.execute("SELECT count(*) FROM run_events WHERE run = ?", (run_id,)).fetchone()[0]
    return count
