"""The README as somebody follows it: every line of its tour, and its own agent, exactly as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.system import eventually

README = Path(__file__).parents[2] / "README.md"
HOME = "/home/you/agents"
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    """The README's blocks of one language, in order."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    return found


def block(language: str, containing: str) -> str:
    """The only such block."""
    (one,) = [text for text in blocks(language) if containing in text]
    return one


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """A new user's shell after `make build`, with directories of its own, short enough for a socket's path."""
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PEERGATE", "XDG"))}
    yield {
        **kept,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(directory),
        "PEERGATE_GATEWAY_PORT": "0",  # the one thing a new user does not have: a system beside the tests' own
        "PEERGATE_RUNTIME_DIR": str(directory / "run"),
        "PEERGATE_STATE_DIR": str(directory / "state"),
    }
    shutil.rmtree(directory)


def typed(line: str, environment: Mapping[str, str]) -> str:
    """What a line prints; it must succeed."""
    ended = subprocess.run(
        ["bash", "-c", line],
        env=environment,
        cwd=README.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert ended.returncode == 0, f"{line}: exit {ended.returncode}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def healthy(environment: Mapping[str, str]) -> bool:
    return subprocess.run(["peergate", "health"], env=environment, capture_output=True, check=False).returncode == 0


@contextmanager
def started(line: str, environment: Mapping[str, str]) -> Iterator[None]:
    """`peergate … up &` as a shell does it. The block ends it with the README's own `peergate stop`."""
    words = line.partition("&")[0].split()
    told = Path(environment["HOME"]) / "up.log"
    with told.open("wb") as log, subprocess.Popen(words, env=environment, cwd=README.parent, stderr=log) as system:
        try:
            eventually(lambda: system.poll() is not None or healthy(environment), seconds=30, every=0.1)
            assert system.poll() is None, told.read_text()
            yield
            assert system.wait(30) == 0
        finally:
            system.kill()


def commands(script: str) -> list[str]:
    return [line for line in script.splitlines() if line.startswith("peergate ")]


def test_every_line_of_the_tour_does_what_it_says(environment: dict[str, str]):
    up, *tour = commands(block("sh", "peergate doctor"))
    assert up.startswith("peergate up &")
    assert tour[-1].startswith("peergate stop")
    with started(up, environment):
        printed = {line.partition("#")[0].strip(): typed(line, environment) for line in tour}
    assert "agent:scout:subagent:" in printed["peergate sessions"] + printed["peergate ps"]
    assert "help" in printed["peergate history agent:main:main"]


def test_the_readmes_own_agent_starts_its_sub_agent_and_hears_its_result(environment: dict[str, str]):
    folder = Path(environment["HOME"]) / "agents"
    folder.mkdir()
    (folder / "hello.py").write_text(block("python", "async def turn"))
    (folder / "peergate.toml").write_text(block("toml", "hello:turn").replace(HOME, str(folder)))
    up, send, history, stop = commands(block("sh", f"{HOME}/peergate.toml").replace(HOME, str(folder)))
    with started(up, environment):
        assert re.match(r"hello you; I started agent:main:subagent:\S+\n", typed(send, environment))
        eventually(lambda: "my sub-agent said: one, two, three" in typed(history, environment), seconds=30, every=0.2)
        assert len(re.findall("I started agent", typed(history, environment))) == 1
        typed(stop, environment)
