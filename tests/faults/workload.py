"""The work that goes on while things die: agents, orders drawn by lot, and senders that never give up.

Owns what was promised to the senders: a message counts as accepted when its acknowledgement has been read, not
before."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.agents import DIRECTORY_VARIABLE
from tests.support.system import Answer, Wire

ROOT = str(Path(__file__).resolve().parents[2])
PARENTS = [f"p{number:02}" for number in range(16)]
KIDS = [f"k{number:02}" for number in range(16)]
PEERS = [f"q{number:02}" for number in range(8)]
SENDERS = 6
MOST_OPEN = 6
"""Messages of one sender that are accepted and not carried out yet."""
CALL_SECONDS = 20.0
CUT_CHANCE = 0.04
STEER_CHANCE = 0.12
RETRY_SECONDS = 0.05


def configuration(directory: Path) -> dict[str, Any]:
    """Agents enough that none dies often enough for quarantine, and limits nobody meets."""
    agent = {
        "runtime": {"type": "python", "entry": "tests.faults.agents:turn", "path": ROOT},
        "env": {DIRECTORY_VARIABLE: str(directory)},
        "subagents": {"allowAgents": ["*"]},
    }
    subagents = {
        "maxChildrenPerAgent": 1000, "maxConcurrent": 12, "archiveAfterMinutes": 0, "spawnTimeoutMs": 120_000,
        "admissionTimeoutMs": 60_000,
    }  # fmt: skip
    return {
        "agents": {
            "defaults": {"maxConcurrent": 12, "idleSeconds": 2, "subagents": subagents},
            "entries": {name: agent for name in (*PARENTS, *KIDS, *PEERS)},
        },
        "tools": {"sessions": {"visibility": "all"}, "agentToAgent": {"enabled": True}},
        "supervisor": {"heartbeatSeconds": 2},
        "logging": {"level": "info"},
    }


def draw_order(rng: random.Random, name: str) -> dict[str, Any]:
    """An order for a parent agent."""
    do = rng.choices(["plain", "tool", "family", "waited", "post", "ask"], [3, 1, 4, 3, 2, 2])[0]
    order: dict[str, Any] = {"id": name, "do": do, "work": rng.choice([0, 20, 100, 300])}
    if do in ("family", "waited"):
        order["children"] = [_draw_child(rng) for _ in range(rng.randint(1, 3))]
        order["announce"] = rng.random() < 0.5
    if do in ("post", "ask"):
        order["peer"] = rng.choice(PEERS)
    return order


def _draw_child(rng: random.Random, depth: int = 1) -> dict[str, Any]:
    order: dict[str, Any] = {"do": rng.choice(["plain", "plain", "tool"]), "work": rng.choice([0, 50, 200])}
    if depth < 2 and rng.random() < 0.2:
        order = {"do": "waited", "children": [_draw_child(rng, depth + 1)], "announce": rng.random() < 0.5}
    return {"agent": rng.choice(KIDS), "order": order}


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message the gateway acknowledged. `ordered`: it must stand behind its sender's earlier ones."""

    id: str
    sender: str
    number: int
    session: str
    run: str
    ordered: bool
    at: float


@dataclass
class Ledger:
    """What all senders know. One lock for everything."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    accepted: list[Accepted] = field(default_factory=list)
    open: dict[str, str] = field(default_factory=dict)
    """Run ids accepted and not known to have ended, with their sender."""
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    resent: int = 0

    def in_flight(self) -> int:
        """Accepted messages nobody has seen the end of."""
        with self.lock:
            return len(self.open)

    def accepted_runs(self) -> set[str]:
        """The runs acknowledged up to now."""
        with self.lock:
            return {one.run for one in self.accepted}

    def ended_runs(self) -> dict[str, dict[str, Any]]:
        """What is known to have ended up to now."""
        with self.lock:
            return dict(self.outcomes)


class _Greeted(Wire):
    """A connection that is closed when it is not greeted."""

    def __init__(self, door: Path) -> None:
        try:
            super().__init__(door, timeout=CALL_SECONDS)
        except BaseException:
            self.close()
            raise


class Stubborn:
    """A caller that connects again and asks again, with the same key, until it is answered."""

    def __init__(self, door: Path, ledger: Ledger) -> None:
        self._door = door
        self._ledger = ledger
        self._wire: Wire | None = None

    def call(self, method: str, params: dict[str, Any], *, cut: bool = False, until: Callable[[], bool]) -> Any:
        """The answer. `cut`: hang up after asking, once, and ask again. Raises Answer for a refusal that stands, and
        TimeoutError when `until()` says that it has been long enough."""
        while True:
            try:
                if self._wire is None:
                    self._wire = _Greeted(self._door)
                asked = self._wire.send(method, params)
                if cut:
                    cut = False
                    self.hang_up()
                    continue
                return self._wire.answer_to(asked)
            except Answer as answer:
                if not answer.shape.get("retryable") and answer.shape.get("code") != "UNAVAILABLE":
                    raise
            except OSError:
                self.hang_up()
            if until():
                raise TimeoutError(f"{method} was not answered")
            with self._ledger.lock:
                self._ledger.resent += 1
            time.sleep(RETRY_SECONDS)

    def hang_up(self) -> None:
        """Close the connection; the next call opens another."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None


class Sender(threading.Thread):
    """Sends orders until told to stop, then waits until each is acknowledged and has ended."""

    def __init__(self, name: str, seed: str, door: Path, ledger: Ledger, give_up_at: Callable[[], float]) -> None:
        super().__init__(name=name, daemon=True)
        self._rng = random.Random(f"{seed}/{name}")
        self._ledger = ledger
        self._caller = Stubborn(door, ledger)
        self._give_up_at = give_up_at
        self._open: list[str] = []
        self._number = 0
        self.pause = 0.0
        """Seconds between two messages."""
        self.stopping = threading.Event()

    def run(self) -> None:
        """Until everything sent has ended, or it has taken far too long."""
        try:
            while not self.stopping.is_set():
                if len(self._open) < MOST_OPEN:
                    self._send()
                    time.sleep(self.pause)
                else:
                    self._look(200)
            while self._open:
                self._look(2000)
        except TimeoutError as error:
            self._complain(f"{self.name}: {error}")
        finally:
            self._caller.hang_up()

    def _send(self) -> None:
        rng, self._number = self._rng, self._number + 1
        name = f"{self.name}-{self._number}"
        session = f"agent:{rng.choice(PARENTS)}:main"
        steer = rng.random() < STEER_CHANCE
        cut = rng.random() < CUT_CHANCE
        order = {"id": name, "do": "plain"} if steer else draw_order(rng, name)
        try:
            run = self._steer(session, order, cut) if steer else self._follow_up(session, order, cut)
        except Answer as answer:
            return self._complain(f"{name} was refused: {answer}")
        if run is None:
            return None
        with self._ledger.lock:
            self._ledger.accepted.append(
                Accepted(name, self.name, self._number, session, run, not steer, time.monotonic())
            )
            self._ledger.open[run] = self.name
        self._open.append(run)
        return None

    def _follow_up(self, session: str, order: dict[str, Any], cut: bool) -> str | None:
        params = {"sessionKey": session, "message": json.dumps(order), "idempotencyKey": f"key-{order['id']}"}
        answer = self._caller.call("agent", params, cut=cut, until=self._too_late)
        return str(answer["runId"])

    def _steer(self, session: str, order: dict[str, Any], cut: bool) -> str | None:
        args = {"sessionKey": session, "message": json.dumps(order), "mode": "steer", "timeoutSeconds": 0}
        params = {"name": "sessions_send", "args": args, "idempotencyKey": f"key-{order['id']}"}
        answer = self._caller.call("tools.invoke", params, cut=cut, until=self._too_late)
        if answer.get("status") != "accepted":
            self._complain(f"{order['id']} was not accepted: {answer}")
            return None
        return str(answer["runId"])

    def _look(self, timeout_ms: int) -> None:
        """Whether the oldest message has been carried out."""
        run = self._open[0]
        params = {"runId": run, "timeoutMs": timeout_ms}
        try:
            answer = self._caller.call("agent.wait", params, until=self._too_late)
        except Answer as answer_:
            self._open.pop(0)
            return self._complain(f"the accepted run {run} is not known: {answer_}")
        if answer.get("endedAt") is not None:
            self._open.pop(0)
            with self._ledger.lock:
                self._ledger.outcomes[run] = answer
                self._ledger.open.pop(run, None)
        elif self._too_late():
            raise TimeoutError(f"the run {run} has not ended: {answer}")
        return None

    def _too_late(self) -> bool:
        return time.monotonic() > self._give_up_at()

    def _complain(self, text: str) -> None:
        with self._ledger.lock:
            self._ledger.refused.append(text)
