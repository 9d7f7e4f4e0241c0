"""One round: a fresh system at work, so many faults, quiet, and the verdict.

Owns the order of a round, and what must be true of the machine when it is quiet: no process left, no descriptor
left."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.checker import Checker
from tests.faults.evidence import Evidence, ask, read_lines
from tests.faults.killer import Killer, Snapshot, Tally
from tests.faults.rig import Rig, wait_gone
from tests.faults.steering import Turns
from tests.faults.table import Table
from tests.faults.workload import CALL_SECONDS, PARENTS, SENDERS, Ledger, Sender, configuration
from tests.support.system import Answer, eventually

QUIET_SECONDS = 240.0
IDLE_SECONDS = 30.0
GONE_SECONDS = 5.0
PER_FAULT_SECONDS = 15.0
UNFINISHED = ("queued", "starting", "running", "waiting")


def round_of_faults(seed: str, count: int, *, on_disk: bool = True) -> Tally:
    """A whole round. Its system's directory is kept when something was wrong. Raises ValueError for a seed that is
    none."""
    rng = random.Random(seed)
    turns = Turns(seed, rng)
    tally = Tally()
    with Table() as table, _rig(table, tally, on_disk) as rig:
        books = rig.directory / "books"
        rig.start()
        warm_up(rig)
        idle = idle_descriptors(rig, None)
        ledger = Ledger()
        deadline = [float("inf")]
        senders = [Sender(f"s{number}", seed, rig.operator, ledger, lambda: deadline[0]) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        killer = Killer(rig, table, rng, turns, tally, ledger.in_flight, lambda: _promised(ledger))
        killer.inflict(count, time.monotonic() + count * PER_FAULT_SECONDS)
        table.cancel()
        deadline[0] = time.monotonic() + QUIET_SECONDS
        for sender in senders:
            sender.stopping.set()
        while any(sender.is_alive() for sender in senders) and time.monotonic() < deadline[0] + CALL_SECONDS:
            killer.raise_supervisor()
            time.sleep(0.05)
        evidence = Evidence(ledger.accepted, ledger.outcomes, ledger.refused, stops=killer.stops)
        _gather(rig, evidence, tally)
        evidence.lines = read_lines(books)
        checker = Checker(evidence).run()
        tally.checks += checker.checks
        tally.violations += checker.violations
        _nothing_stays(rig, idle, tally)
        for snapshot in killer.snapshots:
            _after_power_cut(snapshot, tally)
    return tally


@contextmanager
def _rig(table: Table, tally: Tally, on_disk: bool) -> Iterator[Rig]:
    rig = Rig({}, table, on_disk=on_disk)
    books = rig.directory / "books"
    books.mkdir()
    rig.config.write_text(json.dumps(configuration(books)))
    try:
        yield rig
    except BaseException:
        print(rig.log(), file=sys.stderr)
        raise
    finally:
        if tally.violations:
            kept = Path(f"{rig.directory}-kept")
            shutil.copytree(rig.directory, kept, ignore=lambda *_: ["run", "filler"])
            print(f"kept for a look: {kept}", file=sys.stderr)
        rig.remove()


def warm_up(rig: Rig) -> None:
    """One turn and one child, so that whatever is opened once is open."""
    with rig.wire() as wire:
        order = {"id": "tell-warm", "do": "tell"}
        wire.call("agent", {"agentId": PARENTS[0], "message": json.dumps(order), "idempotencyKey": "warm"})
        wire.call("agent.wait", {"runId": "warm", "timeoutMs": 30_000})


def idle_descriptors(rig: Rig, most: dict[str, int] | None) -> dict[str, int]:
    """Open descriptors when no worker is left; where it is known how many there may be, wait until there are no
    more."""
    found: dict[str, int] = {}

    def quiet() -> bool:
        nonlocal found
        found = rig.descriptors()
        enough = most is None or all(found[name] <= most[name] for name in most)
        return not rig.children("pg:") and enough

    with contextlib.suppress(AssertionError):
        eventually(quiet, IDLE_SECONDS, every=0.1)
    if most is None:
        time.sleep(1.0)  # the spares that took the place of the used ones are born by then
        found = rig.descriptors()
    return found


def _promised(ledger: Ledger) -> tuple[set[str], dict[str, str | None]]:
    ended = {run: outcome.get("state") for run, outcome in ledger.ended_runs().items()}
    return ledger.accepted_runs(), ended


def _gather(rig: Rig, evidence: Evidence, tally: Tally) -> None:
    """Wait until nothing is unfinished, then ask for everything."""
    with rig.wire(timeout=120) as wire:
        left: list[dict[str, Any]] = []

        def quiet() -> bool:
            nonlocal left
            left = _unfinished(wire)
            return not left

        with contextlib.suppress(AssertionError):
            eventually(quiet, QUIET_SECONDS, every=0.25)
        tally.checks += 1
        tally.violations += [f"has not ended: {row}" for row in left]
        for name in PARENTS:
            session = f"agent:{name}:main"
            try:
                evidence.states[session] = _state(wire, name)
            except (Answer, KeyError, ValueError) as error:
                tally.violations.append(f"{session} does not tell its state: {error}")
        ask(wire, evidence)


def _unfinished(wire: Any) -> list[dict[str, Any]]:
    """Whatever goes on. One state after the other can miss a run that moves on meanwhile, or that ends and leaves an
    announcement behind; a list of all states is of one instant, and holds what is new."""
    stuck = [row for state in UNFINISHED for row in wire.call("runs.list", {"state": state})["runs"]]
    newest = wire.call("runs.list", {"limit": 1000})["runs"]
    return stuck or [row for row in newest if row.get("endedAt") is None]


def _state(wire: Any, agent: str) -> dict[str, Any]:
    run = f"tell-{agent}"
    message = json.dumps({"id": run, "do": "tell"})
    wire.call("agent", {"agentId": agent, "message": message, "idempotencyKey": run})
    result = wire.call("agent.wait", {"runId": run, "timeoutMs": 60_000})
    state: dict[str, Any] = json.loads(result["reply"])
    return state


def _nothing_stays(rig: Rig, idle: dict[str, int], tally: Tally) -> None:
    """Descriptors as before the work began; and after the end, no process."""
    now = idle_descriptors(rig, idle)
    tally.checks += len(idle) + 2
    if not all(now[name] <= idle[name] for name in idle):
        tally.violations.append(
            f"descriptors left open: {now}, when idle before {idle}; workers: {rig.children('pg:')}"
        )
    ours = rig.marked()
    if (code := rig.stop()) != 0:
        tally.violations.append(f"the supervisor ended with {code}")
    left = wait_gone([*ours, *rig.marked()], GONE_SECONDS)
    if left:
        tally.violations.append(f"processes left: {left}")


def _after_power_cut(snapshot: Snapshot, tally: Tally) -> None:
    """A system started from the copy knows everything that had been acknowledged before it was taken."""
    rig = Rig({})
    books = rig.directory / "books"
    books.mkdir()
    rig.config.write_text(json.dumps(configuration(books)))
    shutil.copytree(snapshot.directory, rig.state)
    try:
        rig.start()
        with rig.wire() as wire:
            for run in snapshot.accepted:
                tally.checks += 1
                try:
                    answer = wire.call("agent.wait", {"runId": run, "timeoutMs": 0})
                except Answer as error:
                    tally.violations.append(f"lost in a power cut: {run} ({error})")
                    continue
                ended = snapshot.ended.get(run)
                if ended is not None and answer.get("state") != ended:
                    tally.violations.append(f"{run} had ended as {ended}; after the power cut: {answer}")
        rig.stop()
    finally:
        rig.remove()
