"""A name that nothing has is told, with those there are; an empty list would hide that it is misspelt."""

from __future__ import annotations

import pytest

from tests.supervisor.cli.support import Shell, answering
from tests.support.fake_door import FakeDoor, Handler

EMPTY: dict[str, Handler] = {
    "sessions.list": answering({"sessions": []}),
    "runs.list": answering({"runs": []}),
    "mailbox.list": answering({"messages": [], "parked": 0}),
    "agents.list": answering({"agents": [{"id": "scout"}, {"id": "main"}]}),
    "sessions.describe": answering({"session": None}),
}


@pytest.mark.parametrize(
    "words",
    [
        ("sessions", "--agent", "nosuch"),
        ("sessions", "--spawned-by", "nosuch"),
        ("runs", "--agent", "nosuch"),
        ("runs", "--session", "nosuch"),
        ("mailbox", "list", "--session", "nosuch"),
    ],
)
def test_an_agent_there_is_not_is_told_with_the_configured_ones(peergate: Shell, words: tuple[str, ...]):
    with FakeDoor(peergate.runtime, EMPTY):
        told = peergate(*words)
    assert (told.code, told.out) == (1, "")
    assert told.err == "peergate: there is no agent nosuch\n  configured: main, scout\n"


@pytest.mark.parametrize(
    "words", [("sessions", "--spawned-by"), ("runs", "--session"), ("mailbox", "list", "--session")]
)
def test_a_session_there_is_not_is_told_with_the_nearest(peergate: Shell, words: tuple[str, ...]):
    there = answering({"sessions": [{"key": "agent:main:work"}]})
    with FakeDoor(peergate.runtime, {**EMPTY, **({} if words[0] == "sessions" else {"sessions.list": there})}):
        told = peergate(*words, "agent:main:wurk")
    assert told.code == 1
    assert "there is no session agent:main:wurk" in told.err
    assert words[0] == "sessions" or "the nearest: agent:main:work" in told.err


@pytest.mark.parametrize(
    "words", [("sessions", "--agent", "Main"), ("runs", "--session", "main"), ("mailbox", "list", "--session", "main")]
)
def test_an_agent_that_has_not_begun_yet_has_an_empty_list(peergate: Shell, words: tuple[str, ...]):
    with FakeDoor(peergate.runtime, EMPTY):
        told = peergate(*words)
    assert told.code == 0
    assert told.out.startswith("no ")
