"""How soon work goes on after a kill -9 of each kind of process, and how soon a system is up.

Owns the killing. Every time is taken from just before the signal; first lines of turns come through a pipe, with the
clock of whoever wrote them."""

from __future__ import annotations

import json
import os
import select
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from tests.bench.floors import python_start
from tests.bench.load import percentile, served_again
from tests.bench.place import CONFIG, IDLERS, VICTIMS, system, up
from tests.bench.row import Row
from tests.support.system import System

ROUNDS = 5
SPARES = 2
"""Workers kept ready when nobody configures how many."""
CLIENTS = 20
LINE_SECONDS = 20.0
CALM_SECONDS = 0.6
"""Between two killings: spares are born again, and a unit that was ready for a quarter of a second starts at once."""


class Lines:
    """The pipe that turns of `marker` write their first lines into."""

    def __init__(self, system: System) -> None:
        self.path = system.directory / "lines"
        os.mkfifo(self.path)
        self._pipe = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)  # both ends: it never ends by itself
        self._rest = b""

    def next(self) -> dict[str, Any]:
        """The next line: {at, pid, session, attempt}. Raises TimeoutError."""
        while b"\n" not in self._rest:
            if not select.select([self._pipe], [], [], LINE_SECONDS)[0]:
                raise TimeoutError(f"no turn began within {LINE_SECONDS:g} s")
            self._rest += os.read(self._pipe, 65_536)
        line, self._rest = self._rest.split(b"\n", 1)
        told: dict[str, Any] = json.loads(line)
        return told

    def close(self) -> None:
        """Take it away."""
        os.close(self._pipe)
        self.path.unlink()


def rows() -> list[Row]:
    """Everything about recovery, on a system that has nothing else to do."""
    with system() as one, closing(Lines(one)) as lines:
        served = _gateway(one)
        worker = _median(lambda index: _worker(one, lines, VICTIMS[index]))
        births = [_zygote(one, lines, VICTIMS[ROUNDS]) for _ in range(ROUNDS)]
        starts = [_supervisor(one, lines, VICTIMS[ROUNDS + 1 + index]) for index in range(ROUNDS)]
    return [
        Row(f"gateway kill -9 to {CLIENTS} clients served, p50", served, "ms", 50),
        Row("worker kill -9 to its run's second attempt at work, p50", worker, "ms"),
        Row("zygote kill -9 to next spawn at work (a spare), p50", _p50(births, 0), "ms"),
        Row("zygote kill -9 to third spawn at work (by a new zygote), p50", _p50(births, SPARES), "ms"),
        Row("supervisor kill -9 to `peergate up` ready again, p50", _p50(starts, 0), "ms", floor=python_start(),
            floor_is="python -I -c pass"),
        Row("supervisor kill -9 to its interrupted run at work again, p50", _p50(starts, 1), "ms"),
        Row("peergate up until ready, p50", _boot(), "ms", 700, floor=python_start(), floor_is="python -I -c pass"),
    ]  # fmt: skip


def crowded(system: System) -> list[Row]:
    """The gateway's outage where many workers come back to it as well."""
    return [
        Row(
            f"gateway kill -9 to {CLIENTS} clients served, {len(IDLERS)} idle workers beside, p50",
            _gateway(system),
            "ms",
        )
    ]


def _median(measure: Callable[[int], float]) -> float:
    return percentile([measure(index) for index in range(ROUNDS)], 50)


def _p50(rounds: list[list[float]], column: int) -> float:
    return percentile([one[column] for one in rounds], 50)


def _gateway(system: System) -> float:
    """Milliseconds until twenty clients that were connected have been answered again; a refused one is an error."""

    def once(_: int) -> float:
        time.sleep(CALM_SECONDS)
        victim = system.gateway_pid()
        took = served_again(system.operator, CLIENTS, lambda: os.kill(victim, signal.SIGKILL))
        return took * 1000

    return _median(once)


def _worker(system: System, lines: Lines, agent: str) -> float:
    """Milliseconds until the run of a killed worker begins again."""
    with _begun(system, lines, [agent]) as (first,):
        killed = _kill(int(first["pid"]))
        again = lines.next()
        if (again["session"], again["attempt"]) != (first["session"], 2):
            raise AssertionError(f"not the second attempt: {again}")
    return _milliseconds(killed, again)


def _zygote(system: System, lines: Lines, agent: str) -> list[float]:
    """Milliseconds until each of a few new sessions has a worker at work, soonest first: spares, born beforehand, and
    then one that has to wait for the new zygote."""
    time.sleep(CALM_SECONDS)
    (row,) = system.ps("zygote")
    killed = 0.0

    def kill() -> None:
        nonlocal killed
        killed = _kill(int(row["pid"]))

    with _begun(system, lines, [agent] * (SPARES + 1), kill) as begun:
        return [_milliseconds(killed, line) for line in begun]


def _supervisor(system: System, lines: Lines, agent: str) -> list[float]:
    """Milliseconds until `peergate up`, typed at once, is ready again, and until the interrupted run is at work."""
    with _begun(system, lines, [agent]) as (first,):
        killed = _kill(system.pid)
        assert system.process is not None
        system.process.wait()
        up(system)
        ready = time.monotonic()
        again = lines.next()
        if again["session"] != first["session"]:
            raise AssertionError(f"another run began: {again}")
    return [(ready - killed) * 1000, _milliseconds(killed, again)]


@contextmanager
def _begun(
    system: System, lines: Lines, agents: list[str], before: Callable[[], None] | None = None
) -> Iterator[list[dict[str, Any]]]:
    """A turn of each agent in a session of its own, begun and in the end aborted: their first lines in the order they
    came. `before` is called when all is ready to ask."""
    run_ids = [str(uuid.uuid4()) for _ in agents]
    with system.wire() as wire:
        if before is not None:
            before()
        for agent, run_id in zip(agents, run_ids, strict=True):
            params = {"sessionKey": f"agent:{agent}:{run_id}", "message": str(lines.path), "idempotencyKey": run_id}
            wire.send("agent", params)
        begun = [lines.next() for _ in agents]
    yield begun
    for run_id in run_ids:
        system.call("chat.abort", {"runId": run_id, "reason": "measured"})


def _kill(pid: int) -> float:
    """Kill it; when that was, by the clock the first lines are written with."""
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return killed


def _milliseconds(killed: float, line: dict[str, Any]) -> float:
    return (float(line["at"]) - killed) * 1000


def _boot() -> float:
    """Milliseconds `peergate up --json` takes until it says ready, in empty directories."""

    def once(_: int) -> float:
        one = System(CONFIG)
        try:
            began = time.perf_counter()
            up(one)
            took = time.perf_counter() - began
            one.stop()
        finally:
            one.remove()
        return took * 1000

    return _median(once)
