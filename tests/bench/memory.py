"""What is held: memory of the system and of its workers, and how much more of everything after many runs.

Owns reading the kernel's figures. Only root may read those of a worker; anybody else has the worker's own word, which
comes every half minute and knows no private pages."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.bench.load import percentile
from tests.bench.place import BURNERS, IDLERS, at_work, database, system, turn
from tests.bench.row import Row
from tests.support.system import System, Wire

SYSTEM = ("supervisor", "zygote", "gateway")
RUNS = 2000
SCALED_TO = 10_000
WARM_UP_RUNS = 2000
"""Caches and pools fill once; what counts is what goes on growing."""
MOST_SECONDS = 15.0
"""A slow machine measures fewer runs; the rows say how many it were."""
SETTLE_SECONDS = 1.0
PRAGMAS = ("page_count", "freelist_count", "page_size")
BUSY_SECONDS = 1.0


def idle(system: System) -> list[Row]:
    """The three processes alone, and one of forty idle workers that have each done a turn."""
    core = sum(_rollup(row["pid"], "Pss") or row.get("pssBytes") or 0 for row in system.ps() if row["kind"] in SYSTEM)
    for name in IDLERS:
        turn(system, name)
    return [
        Row("idle memory of supervisor, zygote, gateway (PSS)", core / 1e6, "MB", 90),
        *_workers(system, "idle", IDLERS, 5),
    ]


def busy(system: System) -> list[Row]:
    """One of eight workers in the middle of a turn that uses all the CPU it gets, forty idle ones beside them."""
    with at_work(system, BURNERS):
        time.sleep(BUSY_SECONDS)
        return _workers(system, "busy", BURNERS, None)


def _workers(system: System, state: str, agents: list[str], budget: float | None) -> list[Row]:
    """The median of these agents' workers; a figure nobody may read here has no row."""
    found = [row for row in system.ps("worker") if row.get("agentId") in agents]
    if len(found) != len(agents):
        raise AssertionError(f"{len(agents)} {state} workers were expected, {len(found)} are there")
    pss = [size for row in found if (size := _rollup(row["pid"], "Pss") or row.get("pssBytes"))]
    dirty = [size for row in found if (size := _rollup(row["pid"], "Private_Dirty"))]
    rows = [Row(f"{state} worker (PSS)", percentile(pss, 50) / 1e6, "MB", budget)] if pss else []
    return [*rows, *([Row(f"{state} worker (private dirty)", percentile(dirty, 50) / 1e6, "MB")] if dirty else [])]


@dataclass(frozen=True, slots=True)
class Held:
    """What a gateway holds, in bytes and descriptors; None what nobody may read here. The database counts pages in use,
    those in its write-ahead log too: the files themselves grow and shrink by whole checkpoints."""

    pss: int | None
    anonymous: int | None
    database: int
    descriptors: int | None


def growth() -> list[Row]:
    """What many instant runs leave behind, on a system of its own; nothing of it is old enough yet to be cleaned up."""
    with system() as one:
        _run(one, WARM_UP_RUNS)
        before = _held(one)
        count = _run(one, RUNS)
        after = _held(one)
    name = f"after {SCALED_TO:,} runs (scaled from {count:,})"
    rows = []
    for what, one_before, one_after, scale, unit in (
        ("gateway PSS", before.pss, after.pss, 1e6, "MB"),
        ("gateway anonymous memory", before.anonymous, after.anonymous, 1e6, "MB"),
        ("database", before.database, after.database, 1e6, "MB"),
        ("gateway descriptors", before.descriptors, after.descriptors, 1, ""),
    ):
        if one_before is not None and one_after is not None:
            rows.append(Row(f"{what}, more {name}", (one_after - one_before) / scale * SCALED_TO / count, unit))
    return rows


def _run(system: System, wanted: int) -> int:
    """So many runs, eight at a time on as many warm workers, or as many as the time allows; how many it were."""
    agents = IDLERS[:8]
    wires = [system.wire() for _ in agents]
    until, done = time.monotonic() + MOST_SECONDS, 0
    while done < wanted and time.monotonic() < until:
        asked = [(wire, _ask(wire, agent)) for wire, agent in zip(wires, agents, strict=True)]
        for wire, identity in asked:
            wire.answer_to(identity)  # accepted
            wire.answer_to(identity)  # ended well, else this is refused
        done += len(agents)
    for wire in wires:
        wire.close()
    return done


def _ask(wire: Wire, agent: str) -> str:
    return wire.send("agent", {"agentId": agent, "message": "x", "idempotencyKey": str(uuid.uuid4())})


def _held(system: System) -> Held:
    pid = system.gateway_pid()
    time.sleep(SETTLE_SECONDS)  # until what the last runs left to do is done, and the question's own connection is gone
    with database(system) as db:
        pages, free, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS)
    return Held(_rollup(pid, "Pss"), _field(pid, "status", "RssAnon"), (pages - free) * size, _descriptors(pid))


def _rollup(pid: int, name: str) -> int | None:
    return _field(pid, "smaps_rollup", name)


def _field(pid: int, file: str, name: str) -> int | None:
    """Bytes the kernel says in a line `Name:  n kB`; None where it does not tell us."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _descriptors(pid: int) -> int | None:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
