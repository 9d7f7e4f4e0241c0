"""What an agent says while it works, as a client hears it over a real socket: in pieces, in order, and ended once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.system import System, Wire, running

# Says three things with pauses that a client can see, uses a tool, and replies.
TALKER = """
import json, sys, time
def tell(**line):
    print(json.dumps(line), flush=True)
sys.stdin.readline()
for word in ("one ", "two ", "three "):
    tell(say=word)
    time.sleep(0.15)
tell(type="invoke", tool="sessions_list", args={"limit": 2})
sys.stdin.readline()
tell(type="reply", text="one two three")
"""
CONFIG: dict[str, Any] = {
    "agents": {
        "entries": {
            "main": {"runtime": {"type": "command", "argv": [sys.executable, "-c", TALKER], "protocol": "jsonl"}}
        }
    }
}
KEY = "agent:main:main"


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with running(CONFIG) as started:
        yield started


def events_until_the_end(wire: Wire, run: str) -> list[dict[str, Any]]:
    """Everything a connection is told until the run's last chat event."""
    heard: list[dict[str, Any]] = []
    while True:
        event = wire.events.pop(0) if wire.events else wire.read()
        heard.append(event)
        payload = event["payload"]
        if event["event"] == "chat" and payload["runId"] == run and payload["state"] != "delta":
            return heard


def test_a_client_that_subscribes_hears_the_answer_as_it_comes(system: System):
    with system.wire() as wire:
        assert wire.call("sessions.messages.subscribe", {"key": "main"}) == {"subscribed": True, "key": KEY}
        said = wire.call("chat.send", {"sessionKey": KEY, "message": "talk", "idempotencyKey": "k1"})
        assert said == {"runId": "k1", "status": "started"}
        heard = events_until_the_end(wire, "k1")
    chat = [event["payload"] for event in heard if event["event"] == "chat"]
    assert "".join(one["deltaText"] for one in chat[:-1]) == "one two three "
    assert len(chat) > 2
    assert [one["state"] for one in chat] == ["delta"] * (len(chat) - 1) + ["final"]
    assert chat[-1]["message"]["content"] == [{"type": "text", "text": "one two three"}]
    tool = [event["payload"]["data"] for event in heard if event["event"] == "session.tool"]
    assert [(one["phase"], one["name"]) for one in tool] == [("start", "sessions_list"), ("result", "sessions_list")]
    order = [event["event"] for event in heard if event["event"] in ("chat", "session.tool")]
    assert order == ["chat"] * (len(chat) - 1) + ["session.tool"] * 2 + ["chat"]
    assert [event["seq"] for event in heard] == [*range(1, len(heard) + 1)]
    assert all(event["payload"]["sessionKey"] == KEY for event in heard)


def test_a_client_that_subscribes_to_nothing_hears_nothing(system: System):
    with system.wire() as quiet, system.wire(events=True) as wide:
        quiet.call("chat.send", {"sessionKey": KEY, "message": "talk", "idempotencyKey": "k2"})
        events_until_the_end(wide, "k2")
        assert quiet.call("health", {"probe": True})["ok"]
        assert quiet.events == []
