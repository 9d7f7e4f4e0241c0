"""Steady mixed work for minutes, and whether memory and descriptors stay flat.

Owns: sampling, and the verdict. A process is judged over the time after the warm-up, by the least-squares slope of its
samples. The warm-up is the same work as fast as it goes: memory that only a peak needs has been taken before the steady
part begins, and what still grows then grows for good."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.rig import Process, Rig, descriptors_of, process
from tests.faults.suite import idle_descriptors, warm_up
from tests.faults.workload import SENDERS, Ledger, Sender, configuration

SAMPLES = 60
"""At most one each SHORTEST seconds."""
SHORTEST = 2.0
WARM_UP = 0.34
"""Of the time: without pauses, so that caches fill and pools grow to their size."""
MOST_MB_PER_HOUR = 1.0
FLAT_MB = 0.5
"""What memory may differ by from noise alone: a short soak cannot see less."""
PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one process. Memory in megabytes, time in seconds since the start."""

    at: float
    memory: float
    descriptors: int


def slope_per_hour(samples: Sequence[Sample]) -> float:
    """Megabytes per hour by least squares; 0 for fewer than three samples."""
    if len(samples) < 3:
        return 0.0
    mean_at = sum(one.at for one in samples) / len(samples)
    mean = sum(one.memory for one in samples) / len(samples)
    spread = sum((one.at - mean_at) ** 2 for one in samples)
    return 3600 * sum((one.at - mean_at) * (one.memory - mean) for one in samples) / spread if spread else 0.0


def judge(samples: Sequence[Sample]) -> tuple[bool, float, float]:
    """Whether memory stays flat, its slope in MB per hour, and how much that came to in the time looked at."""
    slope = slope_per_hour(samples)
    grown = slope * (samples[-1].at - samples[0].at) / 3600 if samples else 0.0
    return slope <= MOST_MB_PER_HOUR or grown <= FLAT_MB, slope, grown


def soak(minutes: float, seed: str) -> int:
    """Run, print the table, give the verdict as exit code."""
    rig = Rig({})
    books = rig.directory / "books"
    books.mkdir()
    rig.config.write_text(json.dumps(configuration(books)))
    try:
        rig.start()
        warm_up(rig)
        idle = idle_descriptors(rig, None)
        ledger, seconds = Ledger(), minutes * 60
        senders = [Sender(f"s{number}", seed, rig.operator, ledger, lambda: float("inf")) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        table = _watch(rig, ledger, seconds, senders)
        for sender in senders:
            sender.stopping.set()
        for sender in senders:
            sender.join(120)
        after = idle_descriptors(rig, idle)
        good = _verdict(table, idle, after, minutes)
        if ledger.refused:
            print(f"refused: {ledger.refused[:5]}")
        code = rig.stop()
        return 0 if good and not ledger.refused and code == 0 else 1
    finally:
        rig.remove()


def _watch(rig: Rig, ledger: Ledger, seconds: float, senders: Sequence[Sender]) -> dict[str, list[Sample]]:
    """A row each few seconds; the senders make pauses once the warm-up is over."""
    every = max(SHORTEST, seconds / SAMPLES)
    print(f"{'seconds':>8} {'messages':>9}   MB / descriptors", flush=True)
    began = time.monotonic()
    table: dict[str, list[Sample]] = {"supervisor": [], "zygote": [], "gateway": [], "workers": []}
    while (at := time.monotonic() - began) < seconds:
        for sender in senders:
            sender.pause = 0.0 if at < WARM_UP * seconds else PAUSE_SECONDS
        cells = []
        for name, found in _processes(rig).items():
            memory = sum(memory_of(one.pid) for one in found) / 1e6
            descriptors = sum(descriptors_of(one.pid) for one in found)
            if name == "workers":
                memory, descriptors = (memory / len(found), descriptors // len(found)) if found else (0.0, 0)
            if found:
                table[name].append(Sample(at, memory, descriptors))
            cells.append(f"{name} {memory:6.1f} / {descriptors:3}" + (f" × {len(found)}" if name == "workers" else ""))
        print(f"{at:8.0f} {len(ledger.accepted_runs()):9}   {'   '.join(cells)}", flush=True)
        time.sleep(every)
    return table


def _processes(rig: Rig) -> dict[str, list[Process]]:
    ours = [one for one in [process(rig.pid)] if one is not None]
    return {
        "supervisor": ours, "zygote": rig.zygote(), "gateway": rig.children("pg-gateway"),
        "workers": rig.children("pg:"),
    }  # fmt: skip


def _verdict(table: dict[str, list[Sample]], idle: dict[str, int], after: dict[str, int], minutes: float) -> bool:
    good = True
    print()
    for name, samples in table.items():
        kept = [one for one in samples if one.at >= WARM_UP * minutes * 60]
        flat, slope, grown = judge(kept)
        if name == "workers":
            print(f"{name:12} {slope:+8.2f} MB/h on average (not judged: each lives for one session only)")
            continue
        good &= flat
        print(f"{name:12} {slope:+8.2f} MB/h after warm-up ({grown:+.2f} MB in all) {'flat' if flat else 'GROWS'}")
    for name in idle:
        more = after[name] - idle[name]
        good &= more <= 0
        print(f"{name:12} {after[name]:4} descriptors idle, {idle[name]} before {'' if more <= 0 else 'LEAK'}")
    print("verdict:", "flat" if good else "NOT FLAT", f"({minutes:g} min)")
    return good


def memory_of(pid: int) -> int:
    """Anonymous resident memory in bytes, shared or not: proportional figures move with the number of workers, which
    share the zygote's pages. 0 for a process that is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
