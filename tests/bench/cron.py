"""What cron costs: ten thousand jobs that wait, a thousand that come due at once, how late a job runs.

Owns a system of its own. Jobs stand in its database before it starts, as another gateway would have left them; those
that fire leave words for a session, so that what is measured is cron and not the agent's turn."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.bench.load import percentile
from tests.bench.row import Row
from tests.support.system import System, eventually

WAITING, AT_ONCE = 10_000, 1000
IDLE_SECONDS = 4.0
DRIFT_JOBS, DRIFT_SECONDS = 20, 8.0
QUIET = {"sessionTarget": "main", "wakeMode": "next-heartbeat", "payload": {"kind": "systemEvent", "text": "x"}}


def rows() -> list[Row]:
    """Everything about cron."""
    system = System({"logging": {"level": "warn"}})
    try:
        system.start()
        drift = _drift(system)
        _add(system, WAITING, lambda index: {"kind": "every", "everyMs": 86_400_000 + index})
        idle = _idle(system)
        took = _at_once(system)
        began = time.perf_counter()
        gateway = system.gateway_pid()
        os.kill(gateway, 9)
        eventually(lambda: _count(system) >= WAITING, 30)
        again = (time.perf_counter() - began) * 1000
        system.stop()
    finally:
        system.remove()
    return [
        Row(f"gateway's processor time with {WAITING} jobs waiting", idle, "%"),
        Row(f"{AT_ONCE} jobs due at once, until the last is obeyed", took, "ms"),
        Row(f"a job runs later than its slot by, {DRIFT_JOBS} jobs a second, p50", percentile(drift, 50), "ms"),
        Row(f"a job runs later than its slot by, {DRIFT_JOBS} jobs a second, p99", percentile(drift, 99), "ms"),
        Row(f"gateway kill -9 until it knows {WAITING} jobs again", again, "ms"),
    ]


def _add(system: System, count: int, schedule: Callable[[int], dict[str, Any]]) -> list[str]:
    """Make jobs, many calls under way at once."""
    made: list[str] = []
    with system.wire(timeout=60) as wire:
        for start in range(0, count, 100):
            calls = {
                wire.send("cron.add", {"name": f"job {index}", "schedule": schedule(index), **QUIET})
                for index in range(start, min(start + 100, count))
            }
            while calls:
                answer = wire.read()
                calls.discard(answer.get("id", ""))
                if answer["type"] == "res":
                    made.append(answer["payload"]["id"])
    return made


def _count(system: System) -> int:
    try:
        return int(system.call("cron.status")["jobs"])
    except OSError:
        return 0


def _idle(system: System) -> float:
    """Per cent of one processor the gateway uses while nothing is due."""
    pid = system.gateway_pid()
    before = _used(pid)
    time.sleep(IDLE_SECONDS)
    return (_used(pid) - before) / IDLE_SECONDS * 100


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _at_once(system: System) -> float:
    """Milliseconds from the instant a thousand jobs come due until the last of them is obeyed. Every job is for the
    main session, which keeps a thousand words waiting: more are refused, which is obeyed as well."""
    due = int(time.time() * 1000) + 4000
    made = set(_add(system, AT_ONCE, lambda index: {"kind": "at", "at": due}))
    with closing(sqlite3.connect(f"file:{system.state}/peergate.db?mode=ro", uri=True)) as database:

        def ended() -> list[int]:
            found = database.execute("SELECT job, ended_at FROM cron_runs WHERE slot = ?", (due,)).fetchall()
            times = [at for job, at in found if job in made]
            return times if len(times) == AT_ONCE else []

        eventually(ended, 40, 0.02)
    return time.time() * 1000 - due


def _drift(system: System) -> list[float]:
    """Milliseconds between each slot and its transaction, of jobs that run every second."""
    made = _add(system, DRIFT_JOBS, lambda index: {"kind": "every", "everyMs": 1000})
    time.sleep(DRIFT_SECONDS)
    late: list[float] = []
    for job in made:
        entries = system.call("cron.runs", {"id": job, "limit": 200})["entries"]
        late += [float(entry["runAtMs"] - entry["slotMs"]) for entry in entries]
        system.call("cron.remove", {"id": job})
    return late
