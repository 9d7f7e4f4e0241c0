"""The measurements on a running system, each a function that returns milliseconds, microseconds, megabytes or a
rate."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.load import closed_loop, connect, frame, percentile, round_trips
from tests.support.system import Answer, System, eventually, running

BURNERS = 8
IDLERS = 40
ROOT = str(Path(__file__).resolve().parents[2])


def _agent(function: str) -> dict[str, Any]:
    return {"runtime": {"type": "python", "entry": f"tests.bench.agents:{function}", "path": ROOT}}


CONFIG: dict[str, Any] = {
    "agents": {
        "defaults": {"subagents": {"maxChildrenPerAgent": 1000}, "idleSeconds": 600, "maxConcurrent": 64},
        "entries": {
            **{name: _agent(name) for name in ("echo", "spawner", "parent", "sink")},
            **{f"busy{index}": _agent("busy") for index in range(BURNERS)},
            **{f"idle{index}": _agent("echo") for index in range(IDLERS)},
        },
    },
    "logging": {"level": "warn"},
}


@contextmanager
def system() -> Iterator[System]:
    """A system with the measuring agents."""
    with running(CONFIG) as started:
        yield started


def turn(system: System, agent: str, message: str, *, timeout_ms: int = 60_000) -> str:
    """One whole turn; its reply."""
    run_id = str(uuid.uuid4())
    with system.wire(timeout=90) as wire:
        wire.call("agent", {"agentId": agent, "message": message, "idempotencyKey": run_id})
        result = wire.call("agent.wait", {"runId": run_id, "timeoutMs": timeout_ms})
    if result["status"] != "ok":
        raise AssertionError(f"{agent}: {result}")
    return str(result.get("reply", ""))


def spawning(system: System, children: int = 60) -> dict[str, float]:
    """From the spawn call to its answer, to the child's first line, and from there to the parent being told."""
    turn(system, "spawner", json.dumps({"children": 5}))
    rows = json.loads(turn(system, "spawner", json.dumps({"children": children})))
    pick = {name: [row[name] * 1000 for row in rows] for name in ("call", "first", "heard")}
    return {
        "first50": percentile(pick["first"], 50),
        "first99": percentile(pick["first"], 99),
        "call50": percentile(pick["call"], 50),
        "heard50": percentile(pick["heard"], 50),
    }


def turns(system: System, count: int = 60) -> dict[str, float]:
    """A whole turn on a worker that is there already."""
    turn(system, "echo", "warm up")
    times = []
    with system.wire() as wire:
        for _ in range(count):
            run_id = str(uuid.uuid4())
            began = time.perf_counter()
            identity = wire.send("agent", {"agentId": "echo", "message": "x", "idempotencyKey": run_id})
            wire.answer_to(identity)
            wire.answer_to(identity)
            times.append((time.perf_counter() - began) * 1000)
    return {"p50": percentile(times, 50), "p99": percentile(times, 99)}


def announces(system: System, count: int = 20) -> dict[str, float]:
    """From a child's turn to the announce run in its parent's session."""
    delays = []
    for _ in range(count):
        before = _announced(system)
        turn(system, "parent", "go")
        runs = eventually(lambda seen=before: _announced(system, seen + 1), 20)
        delays.append(json.loads(runs)["delay"] * 1000)
    return {"p50": percentile(delays, 50)}


def _announced(system: System, wanted: int | None = None) -> Any:
    rows = system.call("runs.list", {"sessionKey": "agent:parent:main", "state": "done", "limit": 200})["runs"]
    told = [row for row in rows if row["runId"].startswith("announce:")]
    if wanted is None:
        return len(told)
    return told[0]["text"] if len(told) >= wanted else None


def unix_rpc(system: System, count: int = 5000) -> dict[str, float]:
    """The cheapest read, one at a time and 64 in flight."""
    client = connect(system.operator)
    bodies = [frame(str(index), "sessions.describe", {"key": "agent:echo:none"}) for index in range(count)]
    times = round_trips(client, bodies)
    rates = [closed_loop([client], bodies * 4, window=64) for _ in range(3)]
    client.close()
    return {"p50": percentile(times, 50) * 1e6, "p99": percentile(times, 99) * 1e6, "rate": max(rates)}


def durable(system: System, senders: int = 64, each: int = 15, rounds: int = 5) -> float:
    """Messages accepted per second: on disk, with session and run, before the answer. They wait behind one long turn;
    fewer than the thousand a session takes."""
    return percentile([_durable_once(system, senders, each) for _ in range(rounds)], 50)


def _durable_once(system: System, senders: int, each: int) -> float:
    run_id = str(uuid.uuid4())
    system.call("agent", {"agentId": "sink", "message": "30", "idempotencyKey": run_id})
    eventually(lambda: system.call("agent.wait", {"runId": run_id, "timeoutMs": 0}).get("state") == "running", 20)
    clients = [connect(system.operator) for _ in range(senders)]
    args = {"agentId": "sink", "message": "0", "timeoutSeconds": 0}
    calls = (
        {"name": "sessions_send", "args": args, "idempotencyKey": str(uuid.uuid4())} for _ in range(senders * each)
    )
    rate = closed_loop(clients, [frame(str(index), "tools.invoke", call) for index, call in enumerate(calls)])
    for client in clients:
        client.close()
    ended = system.call("chat.abort", {"sessionKey": "agent:sink:main", "reason": "measured"})["runIds"]
    if len(ended) != senders * each + 1:
        raise AssertionError(f"{len(ended)} messages were there, {senders * each + 1} were sent")
    return rate


def memory(system: System) -> dict[str, float]:
    """Proportional set sizes in megabytes: the three processes alone, and one of forty idle workers that have each done
    a turn. Root reads them from the kernel; for anybody else a worker's is its own word, which comes every half
    minute."""
    core = [row for row in system.ps() if row["kind"] in ("supervisor", "zygote", "gateway")]
    total = sum(_pss(row["pid"]) or row.get("pssBytes") or 0 for row in core)
    for index in range(IDLERS):
        turn(system, f"idle{index}", "x")
    idle = [row for row in system.ps("worker") if (row.get("agentId") or "").startswith("idle")]
    sizes = [size for row in idle if (size := _pss(row["pid"]) or row.get("pssBytes"))]
    return {"system": total / 1e6, "worker": percentile(sizes, 50) / 1e6 if sizes else float("nan")}


def _pss(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def health(system: System, count: int = 15) -> float:
    """The command line, from exec to exit."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        done = system.cli("health")
        times.append((time.perf_counter() - began) * 1000)
        if done.returncode:
            raise AssertionError(done.stderr)
    return percentile(times, 50)


def beside_burners(system: System, seconds: float = 6.0) -> float:
    """The cheapest read while eight agents burn CPU."""
    run_ids = []
    for index in range(BURNERS):
        run_ids.append(str(uuid.uuid4()))
        params = {"agentId": f"busy{index}", "message": str(seconds + 2), "idempotencyKey": run_ids[-1]}
        system.call("agent", params)
    eventually(
        lambda: all(
            system.call("agent.wait", {"runId": run, "timeoutMs": 0}).get("state") == "running" for run in run_ids
        ),
        20,
    )
    client = connect(system.operator)
    data = frame("1", "sessions.describe", {"key": "agent:echo:none"})
    times: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        times += round_trips(client, [data])
        time.sleep(0.002)
    client.close()
    for run in run_ids:
        with system.wire(timeout=60) as wire:
            wire.call("agent.wait", {"runId": run, "timeoutMs": 30_000})
    return percentile(times, 99) * 1000


def outage(system: System, rounds: int = 8, clients: int = 20) -> float:
    """From kill -9 of the gateway until twenty clients have been answered again; a refused connection is an error."""
    took = []
    for _ in range(rounds):
        victim = system.gateway_pid()
        served = [0.0] * clients
        ready, go = threading.Barrier(clients + 1), threading.Event()

        def client(
            index: int, ready: threading.Barrier = ready, go: threading.Event = go, served: list[float] = served
        ) -> None:
            ready.wait()
            go.wait()
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                try:
                    with system.wire() as wire:
                        wire.call("health")
                    served[index] = time.perf_counter()
                    return
                except ConnectionRefusedError:
                    raise
                except (ConnectionError, Answer, OSError):
                    continue

        threads = [threading.Thread(target=client, args=(index,)) for index in range(clients)]
        for thread in threads:
            thread.start()
        ready.wait()
        began = time.perf_counter()
        os.kill(victim, signal.SIGKILL)
        go.set()
        for thread in threads:
            thread.join()
        if not all(served):
            raise AssertionError("a client was not served within 20 s")
        took.append((max(served) - began) * 1000)
        time.sleep(0.5)
    return percentile(took, 50)


def boot(rounds: int = 5) -> float:
    """`peergate up --json` until it says ready."""
    times = []
    for _ in range(rounds):
        system = System(CONFIG)
        environment = {
            **os.environ,
            "PEERGATE_RUNTIME_DIR": str(system.runtime),
            "PEERGATE_STATE_DIR": str(system.state),
            "PEERGATE_CONFIG": str(system.config),
        }
        command = [str(Path(sys.executable).with_name("peergate")), "up", "--json"]
        with system.errors.open("ab") as log:
            began = time.perf_counter()
            system.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log)
            assert system.process.stdout is not None
            told = system.process.stdout.readline()
            times.append((time.perf_counter() - began) * 1000)
        if not json.loads(told or b"{}").get("ready"):
            raise AssertionError(f"not ready:\n{system.log()}")
        system.process.stdout.close()
        system.stop()
        system.remove()
    return percentile(times, 50)
