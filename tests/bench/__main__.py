"""Run the measurements and print them as a table, or as JSON with `--json`. Takes under two minutes.

Medians of rounds; the floor of a row is measured in the same run, because neighbours come and go."""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import asdict, dataclass

from tests.bench import measures
from tests.bench.floors import echo, fork_to_trio, group_commit, python_start


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `budget` is what the design allows, `better` says in which direction it is one."""

    what: str
    value: float
    unit: str
    budget: float | None
    better: str = "low"
    floor: float | None = None
    floor_is: str = ""

    @property
    def met(self) -> bool | None:
        if self.budget is None:
            return None
        return self.value <= self.budget if self.better == "low" else self.value >= self.budget


def collect() -> list[Row]:
    """Every row there is."""
    began = time.perf_counter()
    fork, bare, commits, start = fork_to_trio(), echo(), group_commit(), python_start()
    rows: list[Row] = []
    with measures.system() as system:
        memory = measures.memory(system)
        spawn = measures.spawning(system)
        turn = measures.turns(system)
        announce = measures.announces(system)
        trips = measures.unix_rpc(system)
        rows += [
            Row(
                "session tool call to the child's first line, p50",
                spawn["first50"],
                "ms",
                6,
                "low",
                fork,
                "fork to trio.run",
            ),
            Row("  p99", spawn["first99"], "ms", 20),
            Row("sessions_spawn call to its result, p50", spawn["call50"], "ms", 3),
            Row("child began to parent told, p50", spawn["heard50"], "ms", None),
            Row("child finished to parent's next run started, p50", announce["p50"], "ms", 10),
            Row("a whole turn on a warm worker, p50", turn["p50"], "ms", 15),
            Row("RPC round trip, Unix door, one caller, p50", trips["p50"], "µs", 90, "low", bare["p50"], "Trio echo"),
            Row(
                "pipelined RPC, Unix door, 64 in flight", trips["rate"], "/s", 40_000, "high", bare["rate"], "Trio echo"
            ),
            Row(
                "durable accepted messages, 64 senders",
                measures.durable(system),
                "/s",
                8_000,
                "high",
                commits,
                "SQLite, FULL",
            ),
            Row("idle memory of supervisor, zygote, gateway (PSS)", memory["system"], "MB", 90),
            Row("idle worker (PSS)", memory["worker"], "MB", 5),
            Row("peergate health, p50", measures.health(system), "ms", 100, "low", start, "python -I -c pass"),
            Row("cheap RPC while 8 agents burn CPU, p99", measures.beside_burners(system), "ms", 10),
            Row("gateway kill -9 to 20 clients served, p50", measures.outage(system), "ms", 50),
        ]
    rows.append(Row("peergate up until ready, p50", measures.boot(), "ms", 700, "low", start, "python -I -c pass"))
    rows.append(Row("these measurements took", time.perf_counter() - began, "s", 120))
    return rows


def show(rows: list[Row]) -> str:
    """The table."""
    lines = [f"{'what':<58}{'measured':>14}{'budget':>12}  {'':<4}floor in the same run"]
    for row in rows:
        mark = {True: "met", False: "MISSED", None: ""}[row.met]
        budget = f"{'≤' if row.better == 'low' else '≥'} {row.budget:g}" if row.budget is not None else ""
        floor = f"{row.floor:.1f} ({row.floor_is})" if row.floor is not None else ""
        lines.append(f"{row.what:<58}{row.value:>9.1f} {row.unit:<4}{budget:>12}  {mark:<7}{floor}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    rows = collect()
    if "--json" in sys.argv:
        told = [{**asdict(row), "met": row.met} for row in rows]
        print(json.dumps({"python": platform.python_version(), "kernel": platform.release(), "rows": told}, indent=2))
    else:
        print(show(rows))


if __name__ == "__main__":
    main()
