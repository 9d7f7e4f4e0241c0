"""Run the measurements and print them as a table, or as JSON with `--json`. Takes under two minutes; `--only` takes
those of one kind.

Medians of rounds; the floor of a row is measured in the same run, because neighbours come and go. Nothing here fails
for being slow: a figure is printed beside its budget, and a measurement that went wrong ends the run."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict

from tests.bench import cron, durability, memory, outer, recovery, rpc, spawning
from tests.bench.place import system
from tests.bench.row import Row, table
from tests.support.system import System

SHARED: dict[str, Callable[[System], list[Row]]] = {
    "memory": memory.idle, "spawning": spawning.rows, "durability": durability.rows, "rpc": rpc.rows,
    "busy": memory.busy, "crowded": recovery.crowded,
}  # fmt: skip
"""Measured on one system, in this order."""
APART: dict[str, Callable[[], list[Row]]] = {
    "recovery": recovery.rows, "growth": memory.growth, "cron": cron.rows, "outer": outer.rows,
}  # fmt: skip
"""What kills or fills a system has one of its own."""


def collect(only: str | None = None) -> list[Row]:
    """Every row there is, or those of one kind."""
    began = time.perf_counter()
    rows: list[Row] = []
    shared = [measure for name, measure in SHARED.items() if only in (None, name)]
    if shared:
        with system() as one:
            for measure in shared:
                rows += measure(one)
    for name, measure_apart in APART.items():
        if only in (None, name):
            rows += measure_apart()
    if only is None:
        rows.append(Row("these measurements took", time.perf_counter() - began, "s", 120))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the budgets and print them as a table.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--only", choices=(*SHARED, *APART), help="only the measurements of one kind")
    asked = parser.parse_args()
    rows = collect(asked.only)
    if asked.json:
        told = [{**asdict(row), "met": row.met} for row in rows]
        print(json.dumps({"python": platform.python_version(), "kernel": platform.release(), "rows": told}, indent=2))
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
