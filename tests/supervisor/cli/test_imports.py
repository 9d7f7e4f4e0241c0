"""What a short command loads: the time it takes is mostly the time its imports take."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"trio", "rich", "msgspec", "cryptography", "asyncio", "ssl", "sqlite3", "pyjson5", "importlib.metadata"}
NOWHERE = ("--runtime-dir", "/nowhere")


def imported(*words: str) -> set[str]:
    """The top names and modules a whole `peergate …` process imports, as the interpreter itself reports them."""
    code = f"import sys; sys.argv[1:] = {list(words)!r}; from supervisor.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert "Traceback" not in ended.stderr
    lines = (line for line in ended.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("health", "--help"),
        ("health", *NOWHERE),
        ("send", "main", "x", *NOWHERE),
        ("cron", "list", "--json", *NOWHERE),
        ("wake", "x", *NOWHERE),
    ],
    ids=["help", "help of a command", "health", "send", "cron", "wake"],
)
def test_a_short_command_loads_nothing_heavy(words: tuple[str, ...]):
    modules = imported(*words)
    assert "click" in modules
    assert HEAVY & modules == set()


def test_help_does_not_load_the_client():
    assert not {"msgpack", "socket", "supervisor.cli.wire"} & imported("--help")


def test_a_schedule_shown_to_a_person_loads_its_arithmetic_and_nothing_of_the_gateway_besides():
    modules = imported("cron", "next", "0 9 * * 1-5", "--tz", "Europe/Berlin")
    ours = {name for name in modules if name.startswith("gateway.")}
    assert "gateway.schedules.explain" in ours
    assert not {name for name in ours if not name.startswith(("gateway.schedules", "gateway.protocol"))}
    assert (HEAVY - {"msgspec"}) & modules == set()
