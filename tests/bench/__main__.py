"""Run the measurements and print them as a table, or as JSON with `--json`. Takes under two minutes.

Medians of rounds; the floor of a row is measured in the same run, because neighbours come and go. Nothing here fails
for being slow: a figure is printed beside its budget, and a measurement that went wrong ends the run."""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import asdict

from tests.bench import cron, durability, memory, outer, recovery, rpc, spawning
from tests.bench.place import system
from tests.bench.row import Row, table


def collect() -> list[Row]:
    """Every row there is. What kills or fills a system has one of its own."""
    began = time.perf_counter()
    rows: list[Row] = []
    with system() as one:
        rows += memory.idle(one)
        rows += spawning.rows(one)
        rows += durability.rows(one)
        rows += rpc.rows(one)
        rows += memory.busy(one)
        rows += recovery.crowded(one)
    rows += recovery.rows()
    rows += memory.growth()
    rows += cron.rows()
    rows += outer.rows()
    rows.append(Row("these measurements took", time.perf_counter() - began, "s", 120))
    return rows


def main() -> None:
    """Measure and print."""
    rows = collect()
    if "--json" in sys.argv:
        told = [{**asdict(row), "met": row.met} for row in rows]
        print(json.dumps({"python": platform.python_version(), "kernel": platform.release(), "rows": told}, indent=2))
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
