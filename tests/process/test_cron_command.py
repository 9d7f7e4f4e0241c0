"""Programs of cron jobs, run by real workers: whose they are, what is kept of them, how they fail."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import System, eventually, running


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with running({}) as started:
        yield started


def run(system: System, argv: list[str], **payload: Any) -> dict[str, Any]:
    """A job that is this program, run once because somebody asks; its line of the log."""
    schedule = {"kind": "every", "everyMs": 3_600_000}
    job = system.call(
        "cron.add", {"name": "p", "schedule": schedule, "payload": {"kind": "command", "argv": argv, **payload}}
    )
    asked = system.call("cron.run", {"id": job["id"]})
    wanted = {"id": job["id"], "runId": asked["runId"]}
    (entry,) = eventually(lambda: system.call("cron.runs", wanted)["entries"], 20)
    return dict(entry)


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_it_runs_as_the_agent_in_a_session_of_its_own(system: System):
    entry = run(
        system, shell("echo $PEERGATE_AGENT $PEERGATE_SESSION; cat; echo $WORD"), input="in ", env={"WORD": "w"}
    )
    assert entry["status"] == "ok"
    assert entry["summary"] == f"main {entry['sessionKey']}\nin w"


@pytest.mark.parametrize(
    ("argv", "more", "error"),
    [
        (shell("echo no >&2; exit 3"), {}, "exited with code 3; its last lines:\nno"),
        (["/no/such/program"], {}, "/no/such/program"),
        (shell("sleep 30"), {"timeoutSeconds": 1}, "(timeoutSeconds)|took longer than"),
        (shell("echo a; sleep 30"), {"noOutputTimeoutSeconds": 1}, "wrote nothing for 1 s"),
    ],
)
def test_how_it_fails_stands_in_the_log(system: System, argv: list[str], more: dict[str, Any], error: str):
    entry = run(system, argv, **more)
    assert entry["status"] == "error"
    assert any(part in entry["error"] for part in error.split("|"))


def test_what_it_had_printed_when_its_time_was_over_is_kept(system: System):
    entry = run(system, shell("echo so far; sleep 30"), timeoutSeconds=1)
    assert entry["status"] == "error"
    history = system.call("chat.history", {"sessionKey": entry["sessionKey"]})["messages"]
    assert history[-1]["content"][0]["text"] == "so far"


def test_more_output_than_is_kept_is_dropped_and_the_program_ends_well(system: System):
    entry = run(system, shell("yes | head -c 3000000"), outputMaxBytes=1000)
    assert entry["status"] == "ok"
    history = system.call("chat.history", {"sessionKey": entry["sessionKey"]})["messages"]
    text = history[-1]["content"][0]["text"]
    assert len(text) < 1100
    assert text.endswith("more than outputMaxBytes]")


def test_one_whose_worker_is_killed_in_the_middle_is_not_run_twice(system: System, tmp_path: Path):
    folder = tmp_path / "marks"
    job = system.call(
        "cron.add",
        {
            "name": "p", "schedule": {"kind": "every", "everyMs": 3_600_000},
            "payload": {"kind": "command", "argv": shell(f"echo $PPID >> {folder}; sleep 60")},
        },
    )  # fmt: skip
    asked = system.call("cron.run", {"id": job["id"]})
    worker = eventually(lambda: folder.exists() and folder.read_text().strip(), 20)
    os.kill(int(worker), signal.SIGKILL)
    (entry,) = eventually(lambda: system.call("cron.runs", {"id": job["id"], "runId": asked["runId"]})["entries"], 20)
    assert entry["status"] == "error"
    assert "may have happened" in entry["error"]
    assert len(folder.read_text().split()) == 1
