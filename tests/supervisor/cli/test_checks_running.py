"""What `peergate doctor` says of a running system that is not well, or does not answer."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest

from tests.supervisor.cli.support import Shell, answering
from tests.support.fake_door import FakeDoor, Handler, Silence

FULL = "the disk that holds the state directory is full"


def found(peergate: Shell, name: str, doors: Mapping[str, Handler]) -> dict[str, Any]:
    """The one check of this name."""
    with FakeDoor(peergate.runtime, doors):
        told = peergate("doctor", "--json").document["checks"]
    (check,) = [each for each in told if each["name"] == name]
    assert check["status"] == "fail"
    return dict(check)


def test_what_ails_the_database_is_told(peergate: Shell):
    health = {"ok": False, "database": {"trouble": FULL}}
    assert found(peergate, "health", {"health": answering(health)})["found"] == FULL
    assert "not well" in found(peergate, "health", {"health": answering({"ok": False})})["found"]


def test_what_a_gateway_waits_for_as_it_starts_is_told(peergate: Shell):
    def silent(_: dict[str, Any]) -> None:
        raise Silence

    peergate.runtime.mkdir()
    status = {"gateway": {"state": "starting", "pid": 7, "waitsFor": FULL}}
    (peergate.runtime / "status.json").write_text(json.dumps(status))
    assert f"starting (pid 7) and waits: {FULL}" in found(peergate, "running system", {"connect": silent})["found"]


def doors_of(peergate: Shell) -> dict[str, dict[str, Any]]:
    """What doctor says of the two doors."""
    checks = peergate("doctor", "--json").document["checks"]
    return {check["name"]: check for check in checks if check["name"] in ("operator.sock", "agents.sock")}


def test_doors_that_are_missing_or_keep_out_whom_they_are_for_are_told(peergate: Shell):
    assert doors_of(peergate) == {}
    with FakeDoor(peergate.runtime, {}, "agents.sock"):
        missing = doors_of(peergate)
        assert (missing["agents.sock"]["status"], missing["operator.sock"]["status"]) == ("ok", "fail")
        assert "is missing" in missing["operator.sock"]["found"]
        with FakeDoor(peergate.runtime, {}) as operators:
            assert {check["status"] for check in doors_of(peergate).values()} == {"ok"}
            operators.path.chmod(0o600)
            wrong = doors_of(peergate)["operator.sock"]
            assert wrong["status"] == "fail"
            assert "mode 0600): its mode must be 0660" in wrong["found"]
            assert wrong["fix"].startswith(f"rm -f {operators.path}:")
        operators.path.unlink()
        operators.path.write_text("")
        assert doors_of(peergate)["operator.sock"]["found"] == f"{operators.path} is no socket"


def test_a_door_of_another_uid_than_its_directory_is_told(peergate: Shell, monkeypatch: pytest.MonkeyPatch):
    with FakeDoor(peergate.runtime, {}, "agents.sock"), FakeDoor(peergate.runtime, {}) as operators:
        real = os.lstat

        def lstat(path: Any, **more: Any) -> os.stat_result:
            found = real(path, **more)
            return (
                os.stat_result([*found[:4], found.st_uid + 1, *found[5:10]]) if path == str(operators.path) else found
            )

        monkeypatch.setattr(os, "lstat", lstat)
        told = doors_of(peergate)["operator.sock"]
    assert (told["status"], "belongs to another uid than its directory" in told["found"]) == ("fail", True)


def test_an_agent_in_quarantine_is_told_with_the_reason(peergate: Shell):
    held = "agent scout is in quarantine (it loops); to release it: peergate agents release scout"
    health = {"ok": True, "agents": [{"id": "scout", "quarantined": True, "held": held}, {"id": "main"}]}
    with FakeDoor(peergate.runtime, {"health": answering(health)}):
        checks = peergate("doctor", "--json").document["checks"]
    assert [each["found"] for each in checks if each["name"] == "quarantine"] == [held]
