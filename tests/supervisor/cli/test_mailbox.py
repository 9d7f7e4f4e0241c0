"""`peergate mailbox`: what it asks for and prints."""

from __future__ import annotations

from typing import Any

import pytest

from tests.supervisor.cli.support import Shell, answering
from tests.support.fake_door import FakeDoor, No

PARKED: dict[str, Any] = {
    "id": 17, "runId": "r1", "sessionKey": "agent:main:main", "state": "dead", "text": "pay the bill", "createdAt": 1,
    "agentId": "main", "sender": "operator", "attempts": 3, "runState": "interrupted", "error": "its worker died",
}  # fmt: skip
WAITING = {**PARKED, "id": 18, "state": "new", "runState": "queued", "error": None, "attempts": 0, "text": "hello"}


def test_the_messages_are_a_table_with_what_can_be_done_about_parked_ones(peergate: Shell):
    with FakeDoor(peergate.runtime, {"mailbox.list": answering({"messages": [PARKED, WAITING], "parked": 1})}) as door:
        told = peergate("mailbox")
        assert peergate("mailbox", "list", "--parked", "--session", "main").code == 0
    lines = told.out.splitlines()
    assert lines[0].split() == ["ID", "STATE", "SESSION", "FROM", "SENT", "TRIES", "ERROR", "OR", "TEXT"]
    assert "parked" in lines[1]
    assert "its worker died" in lines[1]
    assert "waiting" in lines[2]
    assert lines[3] == "1 parked: peergate mailbox show|retry|drop ID"
    assert door.calls("mailbox.list") == [{}, {"limit": 100, "state": "dead", "sessionKey": "agent:main:main"}]


def test_nothing_to_list_is_said(peergate: Shell):
    with FakeDoor(peergate.runtime, {"mailbox.list": answering({"messages": [], "parked": 0})}):
        assert peergate("mailbox").out == "no messages\n"
        assert peergate("mailbox", "--json").document == {"messages": [], "parked": 0}


def test_one_message_is_shown_whole_with_what_its_run_did(peergate: Shell):
    actions = [
        {"name": "look up", "effect": "pure", "state": "done", "attempt": 1, "result": {"n": 1}},
        {"name": "charge card", "effect": "unsafe", "state": "unknown", "attempt": 1},
    ]
    whole = {**PARKED, "actions": actions, "provenance": {"kind": "external_user"}}
    with FakeDoor(peergate.runtime, {"mailbox.list": answering({"messages": [whole], "parked": 1})}) as door:
        told, document = peergate("mailbox", "show", "17"), peergate("mailbox", "show", "r1", "--json")
    assert "r1: interrupted after 3 attempts" in told.out
    assert "look up (pure): done, {'n': 1}" in told.out
    assert "charge card (unsafe): begun, nobody knows whether it happened" in told.out
    assert "peergate mailbox retry 17" in told.out
    assert document.document == whole
    with FakeDoor(peergate.runtime, {"mailbox.list": answering({"messages": [{**PARKED, "attempts": 1}]})}):
        assert "interrupted after 1 attempt\n" in peergate("mailbox", "show", "17").out
    assert door.calls("mailbox.list") == [{"id": "17"}, {"id": "r1"}]


@pytest.mark.parametrize(
    ("word", "told"), [("retry", "message 17 is tried again: peergate wait r1\n"), ("drop", "message 17 is dropped\n")]
)
def test_a_decision_is_asked_for_and_its_refusal_is_told(peergate: Shell, word: str, told: str):
    with FakeDoor(peergate.runtime, {f"mailbox.{word}": answering(PARKED)}) as door:
        assert peergate("mailbox", word, "17").out == told
    assert door.calls(f"mailbox.{word}") == [{"id": "17"}]

    def refuse(_: dict[str, Any]) -> Any:
        raise No("INVALID_REQUEST", "the message 17 is not parked")

    with FakeDoor(peergate.runtime, {f"mailbox.{word}": refuse}):
        ended = peergate("mailbox", word, "17")
    assert ended.code != 0
    assert "is not parked" in ended.err
