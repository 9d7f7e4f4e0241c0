"""Cron with kill -9 around every fire: each slot once, whatever died where."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from supervisor.crashpoints import DIE, POINTS
from tests.faults.rig import Rig
from tests.faults.table import Table
from tests.support.system import eventually

PACE_MS = 1000
SECONDS = 40.0
CONFIG: dict[str, Any] = {"cron": {"webhookSsrfPolicy": {"allowPrivateNetwork": True}}}


class Receiver(BaseHTTPRequestHandler):
    """Notes the run of each call."""

    heard: Counter[str]

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.heard[told["runId"]] += 1
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass
class Ticking:
    """A system with one job that writes down its run every second, and is told of to a receiver."""

    rig: Rig
    table: Table
    job: str
    out: Path
    heard: Counter[str] = field(default_factory=Counter)

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """A call that lives through a dying gateway."""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                return self.rig.call(method, params)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def log(self) -> list[dict[str, Any]]:
        page = self.call("cron.runs", {"id": self.job, "limit": 200, "sortDir": "asc"})
        return list(page["entries"])

    def noted(self) -> list[int]:
        """The slots whose program ran, as it noted them, in order."""
        lines = self.out.read_text().split() if self.out.exists() else []
        return [int(line.split(":")[2]) for line in lines]

    def wait_past(self, slot: int) -> None:
        """Until a slot after this one has its line in the log, and was told of."""

        def there() -> bool:
            entries = [entry for entry in self.log() if entry["slotMs"] > slot]
            return any(entry.get("deliveryStatus") == "delivered" for entry in entries)

        eventually(there, SECONDS, 0.1)


@pytest.fixture(scope="module")
def ticking() -> Iterator[Ticking]:
    heard: Counter[str] = Counter()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hearing", (Receiver,), {"heard": heard}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Table() as table:
        rig = Rig(CONFIG, table)
        try:
            rig.start()
            out = rig.directory / "out"
            job = rig.call(
                "cron.add",
                {
                    "name": "tick", "misfire": "catch-up", "misfireCap": 100, "overlap": "wait",
                    "schedule": {"kind": "every", "everyMs": PACE_MS}, "sessionTarget": "isolated",
                    "payload": {"kind": "command", "argv": ["sh", "-c", f"echo $PEERGATE_RUN >> {out}"]},
                    "delivery": {"mode": "webhook", "to": f"http://127.0.0.1:{server.server_port}/"},
                },
            )  # fmt: skip
            yield Ticking(rig, table, job["id"], out, heard)
            assert rig.stop() == 0
        finally:
            rig.remove()
            server.shutdown()
            server.server_close()


def check(ticking: Ticking) -> None:
    """Every slot from the first to the last was obeyed once."""
    entries = [entry["slotMs"] for entry in ticking.log()]
    assert entries == list(range(entries[0], entries[-1] + 1, PACE_MS))
    ran = Counter(ticking.noted())
    assert set(ran.values()) == {1}
    assert set(entries) <= set(ran)


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("gateway.cron.")])
def test_a_gateway_killed_at_any_point_of_cron_obeys_each_slot_once(ticking: Ticking, point: str):
    ticking.table.order(point, DIE)
    eventually(ticking.table.fired, SECONDS)
    slots = [entry["slotMs"] for entry in ticking.log()]
    ticking.wait_past(max(slots, default=0) + PACE_MS)
    check(ticking)


@pytest.mark.parametrize("point", ["gateway.commit.before", "gateway.commit.after", "worker.finish.after"])
def test_so_does_one_killed_around_its_commits_and_one_whose_worker_dies(ticking: Ticking, point: str):
    ticking.table.order(point, DIE)
    eventually(ticking.table.fired, SECONDS)
    slots = [entry["slotMs"] for entry in ticking.log()]
    ticking.wait_past(max(slots, default=0) + PACE_MS)
    check(ticking)


def test_slots_that_went_by_while_everything_was_dead_are_caught_up_on(ticking: Ticking):
    ticking.rig.stop(signal.SIGTERM)
    before = time.time() * 1000
    time.sleep(3 * PACE_MS / 1000)
    ticking.rig.start()
    ticking.wait_past(int(before) + 3 * PACE_MS)
    check(ticking)


def test_every_run_was_told_of_and_a_call_that_was_cut_short_was_made_again(ticking: Ticking):
    told = {entry["runId"] for entry in ticking.log() if entry.get("deliveryStatus") == "delivered"}
    assert told <= set(ticking.heard)
    assert max(ticking.heard.values()) <= 3  # at least once: the receiver knows a second call by its key
