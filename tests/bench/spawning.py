"""How long it takes until somebody works: a child's birth, its result, a turn on a worker that is there already."""

from __future__ import annotations

import json
import time
import uuid

from tests.bench.floors import fork_to_trio
from tests.bench.load import percentile
from tests.bench.place import turn
from tests.bench.row import Row
from tests.support.system import System

CHILDREN = 60
TURNS = 60
ANNOUNCES = 120
"""So many that the hundredth part is more than the longest one alone."""


def rows(system: System) -> list[Row]:
    """Everything about spawning, on one system."""
    return [*_children(system), *_announces(system), _warm_turn(system)]


def _children(system: System) -> list[Row]:
    """From the spawn call to its answer, to the child's first line, and from there to the parent being told."""
    turn(system, "spawner", json.dumps({"children": 5}))
    steps = json.loads(turn(system, "spawner", json.dumps({"children": CHILDREN})))
    call, first, heard = ([step[name] * 1000 for step in steps] for name in ("call", "first", "heard"))
    return [
        Row(
            "session tool call to the child's first line, p50", percentile(first, 50), "ms", 6,
            floor=fork_to_trio(), floor_is="fork to trio.run",
        ),
        Row("session tool call to the child's first line, p99", percentile(first, 99), "ms", 20),
        Row("sessions_spawn call to its result, p50", percentile(call, 50), "ms", 3),
        Row("child began to parent told, p50", percentile(heard, 50), "ms"),
    ]  # fmt: skip


def _announces(system: System) -> list[Row]:
    """From a child's last line to the first line of the run in its parent's session that tells of it."""
    delays = []
    with system.wire(timeout=60) as wire:
        for _ in range(ANNOUNCES):
            child = turn(system, "parent", "go")
            wire.call("agent.wait", {"runId": child})
            told = wire.call("agent.wait", {"runId": f"announce:{child}"})
            delays.append(json.loads(told["reply"])["delay"] * 1000)
    return [
        Row("child finished to parent's next run started, p50", percentile(delays, 50), "ms", 10),
        Row("child finished to parent's next run started, p99", percentile(delays, 99), "ms"),
    ]


def _warm_turn(system: System) -> Row:
    """A whole turn on a worker that is there already, from the call to the result."""
    turn(system, "echo", "warm up")
    times = []
    with system.wire() as wire:
        for _ in range(TURNS):
            params = {"agentId": "echo", "message": "x", "idempotencyKey": str(uuid.uuid4())}
            began = time.perf_counter()
            identity = wire.send("agent", params)
            wire.answer_to(identity)
            wire.answer_to(identity)
            times.append((time.perf_counter() - began) * 1000)
    return Row("a whole turn on a warm worker, p50", percentile(times, 50), "ms", 15)
