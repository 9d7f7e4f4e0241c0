"""The demo's work: ask the agent `main` for a survey, and read afterwards what really ran.

The call is repeated with the same idempotency key until it is answered, so that killing the gateway or the zygote in
the middle changes nothing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from supervisor.cli.asking import ask, ask_with_key
from supervisor.cli.demo.files import Folder
from supervisor.cli.demo.system import MAIN, REPORTER
from supervisor.cli.errors import CliError, Usage

MAX_MESSAGE_CHARS = 256 * 1024
LOOK_MS = 200
PATIENCE_SECONDS = 60.0
PAGE = 100


def survey(doors: Sequence[str], folder: Folder, concurrency: int, on_look: Callable[[], None]) -> dict[str, Any]:
    """The survey's result. Calls `on_look` a few times a second meanwhile. Raises CliError when the run did not end
    well."""
    task = {
        "task": "survey",
        "root": folder.root,
        "files": folder.files,
        "concurrency": concurrency,
        "reporter": REPORTER,
    }
    message = json.dumps(task)  # ASCII: a name that is not UTF-8 is a lone surrogate, which travels as its escape
    if len(message) > MAX_MESSAGE_CHARS:
        raise Usage("the names of these files are longer than one message can carry", fix="take fewer with --max")
    accepted = ask_with_key(doors, "agent", {"agentId": MAIN, "message": message})
    run = {"runId": str(accepted["runId"]), "timeoutMs": LOOK_MS}
    while True:
        on_look()
        told = ask(doors, "agent.wait", run, patience=PATIENCE_SECONDS)
        if told.get("status") == "pending":
            continue
        if told.get("status") != "ok":
            raise CliError(f"the survey ended with {told.get('status')}: {told.get('error') or told.get('stopReason')}")
        return _parsed(str(told.get("reply") or ""))


def _parsed(reply: str) -> dict[str, Any]:
    try:
        result = json.loads(reply)
    except (ValueError, RecursionError):
        result = None
    if not isinstance(result, dict) or not isinstance(result.get("files"), list):
        raise CliError(f"agent {MAIN} did not answer with a survey: {reply[:300]!r}")
    return result


def all_runs(doors: Sequence[str]) -> list[dict[str, Any]]:
    """Every run of the demo's system, newest first."""
    runs: list[dict[str, Any]] = []
    while True:
        told = ask(doors, "runs.list", {"limit": PAGE, "offset": len(runs)}, patience=PATIENCE_SECONDS)
        page = told.get("runs") or []
        runs += page
        if len(page) < PAGE:
            return runs


def workers_of(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The distinct processes that did the runs, as the kernel named them: a pid alone may be used twice, with its
    start it is not."""
    workers: dict[tuple[int, int], dict[str, Any]] = {}
    for run in runs:
        pid, start = run.get("workerPid"), run.get("workerStart")
        if pid is None:
            continue
        worker = workers.setdefault(
            (pid, start or 0),
            {"pid": pid, "start": start, "agentId": run.get("agentId"), "sessionKey": run.get("sessionKey"), "runs": 0},
        )
        worker["runs"] += 1
    return sorted(workers.values(), key=lambda worker: (worker["start"] or 0, worker["pid"]))


def latency_of(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Milliseconds from an accepted `sessions_spawn` to the child's turn running in its own process."""
    waits = sorted(
        float(run["startedAt"]) - float(run["createdAt"])
        for run in runs
        if str(run.get("lane")).startswith("subagent") and run.get("startedAt") is not None
    )
    return {"count": len(waits), "p50Ms": quantile(waits, 0.5), "p99Ms": quantile(waits, 0.99)}


def quantile(ordered: Sequence[float], part: float) -> float | None:
    """The smallest value that at least `part` of all are not above."""
    return round(ordered[max(0, math.ceil(part * len(ordered)) - 1)], 1) if ordered else None


def pairing_prompts(doors: Sequence[str]) -> int:
    """How often anybody in this system was told to pair: counted by the gateway, not assumed."""
    told = ask(doors, "refusals.list", {"code": "NOT_PAIRED"}, patience=PATIENCE_SECONDS)
    counts = told.get("counts") or {}
    return max(int(counts.get("NOT_PAIRED") or 0), len(told.get("refusals") or ()))


def timed(function: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], float]:
    """A result, and how many milliseconds it took."""
    begun = time.monotonic()
    return function(), round((time.monotonic() - begun) * 1000)
