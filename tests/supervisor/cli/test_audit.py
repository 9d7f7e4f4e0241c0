"""`peergate audit`: one line for each thing that happened at the outer door."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from supervisor.cli import audit as module
from tests.supervisor.cli.support import Shell, answering
from tests.support.fake_door import FakeDoor, No

ENTRY = {
    "id": 7, "ts": 1_700_000_000_000, "event": "device.pair.requested", "rule": "not-paired",
    "device": "56475aa75463474c", "address": "10.0.0.7",
    "detail": {"scopes": ["operator.read", "operator.write"], "name": "\x1b[2J"},
}  # fmt: skip


def test_an_entry_is_one_harmless_line(peergate: Shell):
    with FakeDoor(peergate.runtime, {"audit.list": answering({"entries": [ENTRY], "dropped": 0})}) as door:
        told = peergate("audit", "--event", "device.pair.requested", "-n", "5")
        assert peergate("audit", "--json").document == {"entries": [ENTRY], "dropped": 0}
    assert door.calls("audit.list") == [{"limit": 5, "event": "device.pair.requested"}, {"limit": 100}]
    (line,) = told.out.splitlines()
    assert "device.pair.requested" in line
    assert "device=56475aa75463 from=10.0.0.7 rule=not-paired scopes=operator.read,operator.write" in line
    assert "\x1b" not in line


def test_nothing_is_said_to_be_nothing(peergate: Shell):
    with FakeDoor(peergate.runtime, {"audit.list": answering({"entries": [], "dropped": 0})}):
        assert peergate("audit").out == "nothing has happened at the outer door\n"


def test_following_goes_on_behind_the_last_entry(peergate: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FOLLOW_SECONDS", 0)
    asked = itertools.count()

    def entries(params: dict[str, Any]) -> Any:
        if (number := next(asked)) == 3:
            raise No("UNAVAILABLE", "enough")
        return {"entries": [{**ENTRY, "id": 7 + number}] if number != 1 else []}

    with FakeDoor(peergate.runtime, {"audit.list": entries}) as door:
        told = peergate("audit", "-f", "--json")
    documents, _, _ = told.out.partition('{\n  "error"')
    assert [json.loads(line)["id"] for line in documents.splitlines()] == [7, 9]
    assert [params.get("since") for params in door.calls("audit.list")] == [None, 7, 7, 9]
