"""What the demo makes of what it heard and read: processes, latency, wrong hashes, progress."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.cli.demo.job import latency_of, quantile, workers_of
from supervisor.cli.demo.report import check_hashes, demo_text, missing_files, name_of
from supervisor.cli.demo.system import configuration
from supervisor.cli.demo.view import screen
from supervisor.cli.demo.watch import Progress


def child(pid: int, start: int, created: float = 0, started: float | None = 5) -> dict[str, Any]:
    return {"workerPid": pid, "workerStart": start, "lane": "subagent:1", "createdAt": created, "startedAt": started}


def test_a_pid_used_twice_is_two_processes():
    runs = [child(7, 1), child(7, 2), child(7, 2), {"workerPid": None}]
    assert [(worker["pid"], worker["start"], worker["runs"]) for worker in workers_of(runs)] == [(7, 1, 1), (7, 2, 2)]


def test_latency_counts_sub_agents_that_started():
    runs = [child(1, 1, 0, 4), child(2, 1, 0, 10), child(3, 1, 0, None), {**child(4, 1, 0, 900), "lane": "main"}]
    assert latency_of(runs) == {"count": 2, "p50Ms": 4, "p99Ms": 10}
    assert latency_of([]) == {"count": 0, "p50Ms": None, "p99Ms": None}


@pytest.mark.parametrize(("part", "value"), [(0.01, 1), (0.5, 50), (0.99, 99), (1, 100)])
def test_quantiles(part: float, value: float):
    assert quantile(range(1, 101), part) == value


def test_a_wrong_hash_and_a_missing_report_are_found():
    reports = [{"path": "a", "sha256": "1"}, {"path": "b", "sha256": "2"}, {"path": "c", "error": "cannot be read"}]
    truth = {"a": "1", "b": "other", "c": None}
    assert [wrong["path"] for wrong in check_hashes(reports, lambda path: truth[path])] == ["b"]
    assert missing_files(["a", "d"], reports) == ["d"]


def test_a_report_that_only_claims_to_be_unreadable_is_wrong():
    assert len(check_hashes([{"path": "a", "error": "x"}], lambda _: "1")) == 1


def test_the_table_is_cut_unless_all_is_wanted():
    document: dict[str, Any] = {
        "files": [{"path": f"f{number}\nx", "language": "Python", "lines": 1} for number in range(30)],
        "totals": None, "duplicates": [], "reporter": {"agent": "alecar", "error": "gone"}, "workers": [], "runs": 0,
        "latency": latency_of([]), "pairingPrompts": 0, "hashesChecked": 30, "leftOut": {"links": 2}, "elapsedMs": 1,
        "mismatches": [{"path": "f\x1b", "reported": "1", "computed": "2"}], "changedMeanwhile": [], "missing": ["g"],
        "root": "/", "directory": None,
    }  # fmt: skip
    cut, whole = demo_text(document, False), demo_text(document, True)
    assert "… and 10 more (--all)" in cut
    assert "f29" not in cut
    assert "f29" in whole
    assert "WRONG HASH f\\x1b" in cut
    assert "NOT REPORTED g" in cut
    assert "f0\\nx" in cut
    assert "did not add it up: gone" in cut
    assert "left out: 2 links" in cut


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b", "a b"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("café", "café"),
        ("caf\udce9", "caf\\udce9"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_a_name_is_one_line_that_tells_names_apart(name: str, shown: str):
    assert name_of(name) == shown


def test_progress_follows_processes_and_runs():
    progress = Progress(total=2)
    process = {"pid": 5, "start": 9, "sessionKey": "agent:main:subagent:1"}
    run = {"runId": "r", "sessionKey": "agent:main:subagent:1", "stream": "lifecycle"}
    progress.take({"event": "process", "payload": {**process, "state": "spawned"}})
    progress.take({"event": "agent", "payload": {**run, "data": {"phase": "start"}}})
    assert "pid 5" in screen(progress)
    progress.take({"event": "agent", "payload": {**run, "data": {"phase": "end"}}})
    progress.take({"event": "process", "payload": {**process, "state": "exited"}})
    main = {
        "sessionKey": "agent:main:main",
        "agentId": "main",
        "stream": "assistant",
        "data": {"delta": "25 of\x1b 30"},
    }
    progress.take({"event": "agent", "payload": main})
    progress.take({"event": "agent", "payload": None})
    assert (progress.workers, progress.finished, progress.pids) == ({}, {"r"}, {(5, 9)})
    assert "1 of 2 files" in screen(progress)
    assert "25 of\\x1b 30" in screen(progress)


def test_the_configuration_is_the_reported_one():
    made = configuration(8)
    assert made["gateway"]["bind"] == "lan"
    assert made["gateway"]["auth"]["mode"] == "token"
    assert made["tools"] == {
        "agentToAgent": {"enabled": True, "allow": ["main", "alecar"]}, "sessions": {"visibility": "all"},
    }  # fmt: skip
    assert made["agents"]["defaults"]["subagents"]["maxChildrenPerAgent"] == 8
