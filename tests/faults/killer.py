"""Who kills: draws faults by lot and inflicts them, one after the other.

Owns: which faults there are, and which count. A fault counts when it really happened while accepted work was
unfinished; the seed decides which faults are tried, in which order and with which numbers."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from supervisor.crashpoints import DELAY, DIE, STOP
from tests.faults.rig import Process, Rig, cut_connection, process, wait_gone
from tests.faults.steering import Turns
from tests.faults.table import Table

POINT_SECONDS = 4.0
"""How long an order waits to be obeyed before another fault is tried."""
DEATHS, DEATHS_SECONDS = 3, 65.0
"""Deaths of one agent's workers within so many seconds: below what puts an agent in quarantine (5 in 60 s)."""
GONE_SECONDS = 5.0
WORK_SECONDS = 30.0

RANDOM_VICTIMS = ("worker", "tool", "spare", "zygote", "gateway", "supervisor")
LONG_STOPS = {"worker": 8.0, "gateway": 17.0}
"""Longer than the supervisor waits for a heartbeat (6 s as configured here, and 15 s): it ends them."""
STOP_SECONDS = 20.0
ACTIONS = {DIE: "die", STOP: "stop", DELAY: "delay"}


@dataclass
class Tally:
    """What was inflicted: faults by name, and by point."""

    faults: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    checks: int = 0

    @property
    def total(self) -> int:
        return sum(self.faults.values())

    def add(self, other: Tally) -> None:
        """Take in another one's counts."""
        self.faults += other.faults
        self.points += other.points
        self.missed += other.missed
        self.violations += other.violations
        self.checks += other.checks


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of the database, and what had been promised before it was taken."""

    directory: Path
    accepted: set[str]
    ended: dict[str, str | None]


class Killer:
    """Inflicts faults on a rig whose senders are at work. `in_flight` says how many accepted messages are
    unfinished."""

    def __init__(
        self, rig: Rig, table: Table, rng: random.Random, turns: Turns, tally: Tally, in_flight: Callable[[], int],
        promised: Callable[[], tuple[set[str], dict[str, str | None]]],
    ) -> None:  # fmt: skip
        self._rig, self._table, self._rng, self._tally = rig, table, rng, tally
        self._in_flight, self._promised = in_flight, promised
        self._turns = turns
        self._deaths: dict[str, deque[float]] = {}
        self.snapshots: list[Snapshot] = []
        self.stops = 0
        self._kinds: dict[str, tuple[int, Callable[[], str | None]]] = {
            "point": (52, self._at_point),
            "kill": (26, self._kill),
            "stop": (6, self._stop),
            "long stop": (1, self._long_stop),
            "upgrade": (2, self._upgrade),
            "restart": (2, self._restart),
            "cut": (8, self._cut),
            "clock": (4, self._clock),
            "copy": (2, self._copy),
            "disk": (2, self._disk),
        }
        if not rig.mounted:
            del self._kinds["disk"]

    def inflict(self, count: int, give_up_at: float) -> None:
        """So many faults that count, or fewer when it takes too long."""
        done = 0
        while done < count and time.monotonic() < give_up_at:
            self._wait_for_work()
            names = list(self._kinds)
            kind = self._rng.choices(names, [self._kinds[name][0] for name in names])[0]
            busy = self._in_flight() > 0
            what = self._kinds[kind][1]()
            self.raise_supervisor()
            if what is not None and busy:
                self._tally.faults[what] += 1
                done += 1
            time.sleep(self._rng.uniform(0.02, 0.35))

    def raise_supervisor(self) -> None:
        """Start the supervisor again if it is dead: nothing of the old one may be left by then."""
        rig = self._rig
        assert rig.process is not None
        if process(rig.pid) is None:
            rig.process.wait()  # its leader is dead, other threads may still be on their way out
        while rig.process.poll() is not None:
            if rig.process.returncode != -signal.SIGKILL:
                self._tally.violations.append(f"the supervisor ended by itself with {rig.process.returncode}")
            self._start_again()

    def _start_again(self) -> None:
        left = self._rig.marked()
        self._deaths.clear()
        self._rig.start()
        self._tally.checks += 1
        stayed = wait_gone(left, GONE_SECONDS)
        if stayed:
            self._tally.violations.append(f"left by a dead supervisor, alive beside the next one: {stayed}")

    # --- kinds of faults; each returns its name, or None when nothing came of it

    def _at_point(self) -> str | None:
        point = self._turns.take()
        action = self._rng.choices([DIE, STOP, DELAY], [8, 1, 1])[0]
        skip, millis = self._rng.randint(0, 2), self._rng.randint(20, 600)
        who = ""
        if point.startswith("worker.") and action == DIE:
            agent = self._spare_agent()
            if agent is None:
                return None
            who = f"pg:{agent}"
        self._table.order(point, action, skip=skip, millis=millis, who=who)
        pid = self._obeyed()
        if pid is None:
            self._tally.missed[point] += 1
            return None
        if action == STOP:
            time.sleep(self._rng.uniform(0.05, 1.0))
            for one in [process(pid), *self._rig.tree()]:  # two may have obeyed
                if one is not None:
                    one.send(signal.SIGCONT)
        if action == DIE and (dying := process(pid)) is not None:
            wait_gone([dying], GONE_SECONDS)  # it says so before it dies
        if who and action == DIE:
            self._note_death(who[3:])
        if self._in_flight() > 0:
            self._tally.points[point] += 1
        return f"{ACTIONS[action]} at a point of the {point.split('.')[0]}"

    def _obeyed(self) -> int | None:
        deadline = time.monotonic() + POINT_SECONDS
        while time.monotonic() < deadline:
            if (pid := self._table.fired()) is not None:
                return pid
            time.sleep(0.005)
        return self._table.cancel()

    def _kill(self) -> str | None:
        kind = self._rng.choices(RANDOM_VICTIMS, [8, 4, 1, 3, 6, 2])[0]
        victim = self._find(kind)
        if victim is None or not victim.send(signal.SIGKILL):
            return None
        if kind == "worker":
            self._note_death(victim.name[3:])
        if kind == "supervisor":
            assert self._rig.process is not None
            self._rig.process.wait()
        return f"kill -9 of the {kind}"

    def _stop(self) -> str | None:
        kind = self._rng.choice(RANDOM_VICTIMS)
        victim = self._find(kind)
        if victim is None or not victim.send(signal.SIGSTOP):
            return None
        time.sleep(self._rng.choice([0.1, 0.5, 2.0]))
        victim.send(signal.SIGCONT)
        return f"SIGSTOP and SIGCONT of the {kind}"

    def _long_stop(self) -> str | None:
        kind = self._rng.choice(list(LONG_STOPS))
        victim = self._find(kind)
        if victim is None or not victim.send(signal.SIGSTOP):
            return None
        if kind == "worker":
            self._note_death(victim.name[3:])
        time.sleep(LONG_STOPS[kind])
        victim.send(signal.SIGCONT)
        return f"SIGSTOP of the {kind} for {LONG_STOPS[kind]:g} s"

    def _upgrade(self) -> str | None:
        self._rig.process_itself().send(signal.SIGUSR2)
        time.sleep(self._rng.uniform(0.1, 2.0))
        return "upgrade of the gateway (SIGUSR2)"

    def _restart(self) -> str | None:
        self.raise_supervisor()
        self.stops += 1
        code = self._rig.stop()
        self._tally.checks += 1
        if code != 0:
            self._tally.violations.append(f"the supervisor, asked to stop, ended with {code}")
        self._start_again()
        return "stop and start of the whole system (SIGTERM)"

    def _cut(self) -> str | None:
        workers = self._rig.children("pg:")
        if not workers:
            return None
        return "cut connection of a worker" if cut_connection(self._rng.choice(workers)) else None

    def _clock(self) -> str | None:
        self._table.step_clock(self._rng.choice([-3600.0, -7.0, 0.0, 11.0, 3600.0]))
        return "step of the clock"

    def _copy(self) -> str | None:
        accepted, ended = self._promised()
        directory = self._rig.directory / f"copy{len(self.snapshots)}"
        self._rig.copy_database(directory)
        self.snapshots.append(Snapshot(directory, accepted, ended))
        return "power cut (copy of the database)"

    def _disk(self) -> str | None:
        self._rig.fill_disk()
        time.sleep(self._rng.uniform(0.2, 1.0))
        self._rig.empty_disk()
        return "full disk"

    # --- victims

    def _find(self, kind: str) -> Process | None:
        rig = self._rig
        match kind:
            case "supervisor":
                return rig.process_itself()
            case "gateway":
                found = rig.children("pg-gateway")
            case "zygote":
                found = rig.zygote()
            case "spare":
                found = rig.spares()
            case "tool":
                found = rig.tools()
            case _:
                found = [one for one in rig.children("pg:") if self._may_die(one.name[3:])]
        return self._rng.choice(found) if found else None

    def _spare_agent(self) -> str | None:
        """An agent with a worker at hand that has not died too often."""
        names = sorted({one.name[3:] for one in self._rig.children("pg:")})
        allowed = [name for name in names if self._may_die(name)]
        return self._rng.choice(allowed) if allowed else None

    def _may_die(self, agent: str) -> bool:
        recent = self._deaths.setdefault(agent, deque())
        while recent and time.monotonic() - recent[0] > DEATHS_SECONDS:
            recent.popleft()
        return len(recent) < DEATHS

    def _note_death(self, agent: str) -> None:
        self._deaths.setdefault(agent, deque()).append(time.monotonic())

    def _wait_for_work(self) -> None:
        deadline = time.monotonic() + WORK_SECONDS
        while self._in_flight() == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
