"""A real system and its database from outside: refused when damaged, copied while it runs, put back, looked through."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.system import System, eventually


@pytest.fixture
def system() -> Iterator[System]:
    """Not started."""
    system = System({"logging": {"level": "info"}})
    try:
        yield system
    finally:
        print(system.log(), file=sys.stderr)
        system.remove()


def turn(system: System, key: str, text: str = "hello") -> None:
    system.call("agent", {"agentId": "main", "message": text, "idempotencyKey": key})
    assert system.call("agent.wait", {"runId": key, "timeoutMs": 20_000})["status"] == "ok"


def runs(system: System) -> list[str]:
    told = system.call("chat.history", {"sessionKey": "agent:main:main", "limit": 1000})
    return [message["runId"] for message in told["messages"] if message["role"] == "user"]


def typed(line: str) -> subprocess.CompletedProcess[str]:
    """A line copied from the log, in a shell that knows nothing of this system."""
    environment = {"HOME": "/nonexistent", "PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
    return subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, check=False, timeout=60)


def start_refused(system: System) -> str:
    """Start a system that does not; its log since then."""
    seen = len(system.log())
    with pytest.raises(AssertionError, match=r"not ready \(exit 78\)"):
        system.start()
    return system.log()[seen:]


def test_a_damaged_database_ends_the_start_once_with_commands_that_work(system: System):
    system.start()
    turn(system, "one")
    system.stop()
    database = system.state / "peergate.db"
    whole = database.read_bytes()
    database.write_bytes(b"garbage!" * 10 + whole[80:])
    told = start_refused(system)
    assert f"the database {database} cannot be used" in told
    assert told.count("cannot be used") == 1, "it was tried again"
    assert f"{database}.recovered" in (commands := told.partition("To save what can be read: ")[2].partition('"')[0])
    assert database.read_bytes()[:80] == b"garbage!" * 10
    checks = json.loads(system.cli("doctor", "--json").stdout)["checks"]
    (check,) = [check for check in checks if check["name"] == "database"]
    assert check["status"] == "fail"
    assert "peergate recover" in check["fix"]
    # The header is beyond help; what a lost page costs is tests/gateway/store/test_salvage.py.
    assert typed(commands).returncode == 1
    database.write_bytes(whole)
    assert typed(commands).returncode == 0
    system.start()
    assert runs(system) == ["one"]
    assert system.stop() == 0


def test_a_newer_schema_ends_the_start(system: System):
    system.start()
    system.stop()
    database = system.state / "peergate.db"
    data = bytearray(database.read_bytes())
    data[60:64] = (99).to_bytes(4, "big")  # user_version (fileformat2 §1.3)
    database.write_bytes(data)
    assert "has schema 99, this build knows" in start_refused(system)
    assert database.read_bytes() == data


def test_backup_while_it_runs_restore_while_it_does_not(system: System):
    target = system.directory / "copy.db"
    system.start()
    turn(system, "one")
    made = json.loads(system.cli("backup", "copy.db", "--json", cwd=system.directory).stdout)
    assert made["path"] == str(target)
    assert target.stat().st_mode & 0o777 == 0o600
    again = system.cli("backup", str(target))
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    turn(system, "two")
    busy = system.cli("restore", str(target))
    assert (busy.returncode, "peergate stop" in busy.stderr) == (1, True)
    checks = {check["name"]: check for check in json.loads(system.cli("doctor", "--json").stdout)["checks"]}
    assert checks["database"]["status"] == "ok"
    assert "WAL-reset" in checks["sqlite log"]["found"]
    assert runs(system) == ["one", "two"]
    assert system.stop() == 0
    done = json.loads(system.cli("restore", str(target), "--json").stdout)
    assert os.path.lexists(done["kept"])
    assert json.loads(system.cli("backup", "later.db", "--json", cwd=system.directory).stdout)["bytes"] > 0
    system.start()
    assert runs(system) == ["one"]
    turn(system, "three")
    assert system.stop() == 0


def test_a_gateway_killed_while_it_backs_up_leaves_no_half_a_backup(system: System):
    system.start()
    for number in range(20):
        turn(system, f"run{number}", "x" * 50_000)
    for _ in range(3):
        gateway = system.gateway_pid()
        with system.wire() as wire:
            wire.send("database.backup", {"path": str(system.directory / "copy.db"), "force": True})
            os.kill(gateway, 9)
        eventually(lambda: system.cli("health").returncode == 0, 30)
    made = json.loads(system.cli("backup", str(system.directory / "copy.db"), "--force", "--json").stdout)
    assert made["bytes"] > 1_000_000
    assert runs(system)[-1] == "run19"
    assert [file.name for file in system.directory.iterdir() if file.name.endswith(".part")] == []
    assert system.stop() == 0
