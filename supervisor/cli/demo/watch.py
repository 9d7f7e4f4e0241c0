"""What the demo hears while its agents work: who started, who ended, what was said.

Owns: a thread that follows the events of one gateway after another. `Progress` is only written there; a reader may
see it a moment late."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from supervisor.cli.asking import open_client
from supervisor.cli.errors import CliError

PAUSE_SECONDS = 0.1
MAX_SAID = 6


@dataclass(slots=True)
class Progress:
    """What was seen so far. `workers` maps the pid of each live worker to its session."""

    total: int
    finished: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    workers: dict[int, str] = field(default_factory=dict)
    pids: set[tuple[int, int]] = field(default_factory=set)
    said: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_SAID))
    lost: int = 0

    def take(self, event: Mapping[str, Any]) -> None:
        """One event."""
        payload = event.get("payload")
        if not isinstance(payload, Mapping):
            return
        if event.get("event") == "process":
            self._process(payload)
        elif event.get("event") == "agent":
            self._agent(payload)

    def _process(self, payload: Mapping[str, Any]) -> None:
        pid = payload.get("pid")
        if not isinstance(pid, int):
            return
        if payload.get("state") == "exited":
            self.workers.pop(pid, None)
            return
        self.workers[pid] = str(payload.get("sessionKey") or "")
        self.pids.add((pid, int(payload.get("start") or 0)))

    def _agent(self, payload: Mapping[str, Any]) -> None:
        data = payload.get("data")
        data = data if isinstance(data, Mapping) else {}
        run_id, child = str(payload.get("runId")), ":subagent:" in str(payload.get("sessionKey"))
        if payload.get("stream") == "lifecycle" and child:
            (self.started if data.get("phase") == "start" else self.finished).add(run_id)
        elif payload.get("stream") == "assistant" and not child:
            text = str(data.get("delta") or data.get("text") or "").strip()
            if text and not text.startswith("{"):
                self.said.append(f"{payload.get('agentId')}: {text}")


@contextmanager
def open_watch(doors: Sequence[str], progress: Progress) -> Iterator[None]:
    """Keep `progress` up to date until the block ends."""
    over = threading.Event()
    thread = threading.Thread(target=_follow, args=(doors, progress, over), name="demo-events", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(2)


def _follow(doors: Sequence[str], progress: Progress, over: threading.Event) -> None:
    while not over.is_set():
        try:
            with open_client(doors, events=True) as client:
                while not over.is_set():
                    event = client.next_event(PAUSE_SECONDS)
                    if event is not None:
                        progress.take(event)
        except CliError:
            if over.wait(PAUSE_SECONDS):
                return
            progress.lost += 1  # the gateway went away; the next one is asked
