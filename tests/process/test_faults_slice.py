"""A short slice of the fault suite, and single faults whose outcome can be told exactly."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from supervisor.crashpoints import DIE
from tests.faults.evidence import read_lines
from tests.faults.rig import Rig
from tests.faults.steering import PLACES
from tests.faults.suite import round_of_faults
from tests.faults.table import Table
from tests.faults.workload import configuration
from tests.support.system import eventually

SECONDS = 60


@pytest.fixture(scope="module")
def tormented():
    """A running system with a table of crash points."""
    with Table() as table:
        rig = Rig({}, table)
        books = rig.directory / "books"
        books.mkdir()
        rig.config.write_text(json.dumps(configuration(books)))
        rig.start()
        try:
            yield rig, table
            assert rig.stop() == 0
        finally:
            rig.remove()


def carry_out(rig: Rig, agent: str, order: dict[str, Any]) -> dict[str, Any]:
    """Send an order, live through whatever it does to the system, and wait for its end."""
    run = str(uuid.uuid4())
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            with rig.wire() as wire:
                wire.call("agent", {"agentId": agent, "message": json.dumps(order), "idempotencyKey": run})
                result: dict[str, Any] = wire.call("agent.wait", {"runId": run, "timeoutMs": 30_000})
                if result.get("endedAt") is not None:
                    return result
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{order} did not end in {SECONDS} s:\n{rig.log()}")


GATEWAY_AND_WORKER = [point for point in PLACES if not point.startswith("supervisor.")]


@pytest.mark.parametrize("point", GATEWAY_AND_WORKER)
def test_a_death_at_any_point_loses_and_doubles_nothing(tormented, point):
    rig, table = tormented
    number = GATEWAY_AND_WORKER.index(point)
    name = f"single-{number}"
    table.order(point, DIE)
    children = [{"agent": f"k{number % 16:02}", "order": {"do": "plain"}}]
    order = {"id": name, "do": "waited", "children": children, "announce": True}
    result = carry_out(rig, f"p{number % 16:02}", order)
    eventually(table.fired)
    assert (result["state"], result["reply"]) == ("done", f"re:{name}")
    lines = [line for line in read_lines(rig.directory / "books") if line.get("id") == f"{name}/c0"]
    assert len({line["child"] for line in lines if line["what"] == "spawned"}) == 1
    assert {line["reply"] for line in lines if line["what"] == "reply"} == {f"re:{name}/c0"}


def test_what_a_worker_starts_has_no_table(tormented):
    rig, _ = tormented
    carry_out(rig, "p15", {"id": "tool", "do": "tool"})
    tools = rig.tools()
    assert tools
    for one in tools:
        place = Path(f"/proc/{one.pid}")
        assert "crash-points" not in (place / "maps").read_text()
        assert not any("crash-points" in str(link.readlink()) for link in (place / "fd").iterdir())


def test_a_slice_of_the_fault_suite():
    tally = round_of_faults("slice", 12, on_disk=False)
    assert tally.violations == []
    assert tally.total == 12
    assert tally.checks > 0
