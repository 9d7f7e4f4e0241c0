"""The page for agents' authors, docs/agents.md, as somebody follows it: its agents run as they stand there, also
when their workers are killed, and it leaves nothing of `ctx` or of the lines out."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentproc.context import Context
from agentproc.runtimes.lines import KINDS
from tests.support.system import System, eventually, running

PAGE = (Path(__file__).parents[2] / "docs" / "agents.md").read_text()
HOME = "/home/you/agents"
DATA = {"message", "provenance", "agent_id", "session_key", "run_id", "attempt", "deadline", "state"}


def block(language: str, containing: str) -> str:
    """The only block of one language that contains a text."""
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (one,) = [text for text in blocks if containing in text]
    return one


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pg-page-") as directory:
        folder = Path(directory)
        (folder / "charger.py").write_text(block("python", "async def turn").replace(HOME, directory))
        (folder / "asker.sh").write_text(block("sh", "peergate send"))
        (folder / "orders.py").write_text(block("python", "sys.stdin"))
        (folder / "orders.sh").write_text(block("sh", "tell()"))
        yield folder


@pytest.fixture(scope="module")
def system(folder: Path) -> Iterator[System]:
    config: dict[str, Any] = tomllib.loads(block("toml", "agents.entries.orders").replace(HOME, str(folder)))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    config["agents"]["entries"]["asker"]["runtime"]["env"] = {"PATH": path}
    with running(config) as started:
        yield started


def reply(system: System, agent: str, message: str) -> str:
    with system.wire() as wire:
        begun = {"agentId": agent, "message": message, "idempotencyKey": f"{agent}:{message}"}
        run = wire.answer_to(wire.send("agent", begun))["runId"]
    result = system.call("agent.wait", {"runId": run, "timeoutMs": 20_000})
    assert result["status"] == "ok", result
    return str(result["reply"])


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        ("charger", "receipt 17, counted ['4', '5']"),
        ("asker", "4"),
        ("orders", "receipt 17, 3 words"),
        ("shop", "receipt 17"),
    ],
)
def test_every_agent_of_the_page_does_what_it_says(system: System, folder: Path, agent: str, told: str):
    (folder / "charges.txt").write_text("")
    assert reply(system, agent, "two red hats").strip() == told
    assert (folder / "charges.txt").read_text() == ("" if agent == "asker" else "two red hats\n")


@pytest.mark.parametrize("agent", ["charger", "orders", "shop"])
def test_a_charge_is_made_once_though_the_worker_is_killed(system: System, folder: Path, agent: str):
    charges = folder / "charges.txt"
    charges.write_text("")
    with system.wire() as wire:
        begun = {"agentId": agent, "message": "one green coat", "idempotencyKey": f"{agent}:killed"}
        run = wire.answer_to(wire.send("agent", begun))["runId"]
    worker = eventually(lambda: charges.read_text() and workers(system, agent))
    for pid in worker:
        os.kill(pid, signal.SIGKILL)
    result = system.call("agent.wait", {"runId": run, "timeoutMs": 20_000})
    # Killed between the charge and its note, nobody can know: then the run says so, and nothing is charged again.
    assert result["status"] == "ok" or 'it had begun "charge one green coat"' in result["error"], result
    assert charges.read_text() == "one green coat\n"


def workers(system: System, agent: str) -> list[int]:
    return [int(row["pid"]) for row in system.ps("worker") if row["sessionKey"] == f"agent:{agent}:main"]


def test_the_page_names_everything_of_the_context():
    public = {name for name in vars(Context) if not name.startswith("_")} | DATA
    assert sorted(name for name in public if f"ctx.{name}" not in PAGE) == []
    assert sorted(set(re.findall(r"ctx\.(\w+)", PAGE)) - public) == []


def test_the_page_names_every_kind_of_line():
    table = re.findall(r'^\| `\{"(\w+)": ', PAGE, re.MULTILINE)
    assert sorted(table) == sorted(KINDS)
