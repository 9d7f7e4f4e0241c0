"""An agent whose workers die too often, in a real system: what was accepted for it waits, nothing of it is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.process.test_command_jsonl import program
from tests.support.system import System, eventually, running

ILL = """
note("workers", os.getppid())
while not os.path.exists(os.path.join(folder, "well")): time.sleep(0.02)
tell(reply="done " + opening["message"].split()[0])
"""
CONFIG: dict[str, Any] = {
    "agents": {"entries": {"main": {"runtime": program(ILL, retrySafe=True)}}},
}


def test_messages_of_an_agent_that_dies_too_often_wait_for_its_release_also_over_a_gateways_death(tmp_path: Path):
    with running(CONFIG) as system:
        for word in ("one", "two", "three"):
            accept(system, word, tmp_path)
        for death in range(5):
            os.kill(int(eventually(lambda death=death: worker(tmp_path, death))), signal.SIGKILL)
        held = eventually(lambda: run_of(system, "two").get("waits"))
        assert held.startswith("agent main is in quarantine (5 deaths within")
        assert run_of(system, "one")["state"] == "interrupted", "three workers died of it"

        os.kill(system.gateway_pid(), signal.SIGKILL)
        assert eventually(lambda: run_of(system, "two").get("waits")) == held, "with the reason, word for word"
        refused = system.cli("send", "main", "four", "--no-wait")
        assert refused.returncode != 0
        assert "peergate agents release main" in refused.stderr
        assert "agent main is in quarantine" in system.cli("wait", "three", "--timeout", "0").stdout

        (tmp_path / "well").touch()
        assert system.cli("agents", "release", "main").returncode == 0
        replies = [system.cli("wait", word, "--timeout", "20").stdout for word in ("two", "three")]
    assert replies == ["done two\n", "done three\n"]
    assert len((tmp_path / "workers").read_text().split()) == 7, "each of them began once more"


def test_a_quarantine_outlives_the_system_and_so_does_a_release(tmp_path: Path):
    (tmp_path / "well").touch()
    with running(CONFIG) as system:
        assert system.cli("agents", "quarantine", "main", "--reason", "it writes poems").returncode == 0
        for _ in range(2):
            assert system.stop() == 0
            system.start()
            refused = system.cli("send", "main", "one", "--no-wait")
            assert refused.returncode != 0
            assert "agent main is in quarantine (it writes poems)" in refused.stderr
        assert system.cli("agents", "release", "main").returncode == 0
        assert system.stop() == 0
        system.start()
        assert system.cli("send", "main", f"two {tmp_path}").stdout == "done two\n"


def accept(system: System, word: str, folder: Path) -> None:
    """A message to the main session; its run is called like its first word."""
    given = {"message": f"{word} {folder}", "idempotencyKey": word, "agentId": "main"}
    with system.wire() as wire:
        wire.answer_to(wire.send("agent", given))


def run_of(system: System, word: str) -> dict[str, Any]:
    told: dict[str, Any] = system.call("agent.wait", {"runId": word, "timeoutMs": 0})
    return told


def worker(folder: Path, number: int) -> str:
    """The process of the worker that began a turn as the `number`-th; empty while there is none."""
    file = folder / "workers"
    began = file.read_text().split() if file.exists() else []
    return began[number] if len(began) > number else ""
