"""What `peergate doctor` says of a running system that is not well, or does not answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

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
