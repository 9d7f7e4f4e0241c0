"""Any method by name, events, the log, and command lines that make no sense."""

from __future__ import annotations

import pytest

from tests.supervisor.cli.support import Shell, answering
from tests.support.fake_door import FakeDoor


def test_call_reaches_any_method(peergate: Shell):
    with FakeDoor(peergate.runtime, {"echo": lambda params: params}) as door:
        assert peergate("call", "echo", '{"a": [1]}').document == {"a": [1]}
        assert peergate("call", "--methods").document == ["connect", "echo"]
        assert peergate("call", "nope").code == 1
        assert peergate("call", "echo", "[1]").code == 2
        assert peergate("call", "echo", "{").code == 2
        assert peergate("call").code == 2
    assert len(door.calls("echo")) == 1


def test_events_are_one_line_each(peergate: Shell):
    with FakeDoor(peergate.runtime, {}) as door:
        said = {"sessionKey": "agent:main:main", "stream": "assistant", "data": {"delta": "x"}}
        door.events = [
            {"event": "tick", "payload": {"ts": 1}, "seq": 1},
            {"event": "agent", "payload": said, "seq": 2},
        ]
        told = peergate("events", "-n", "2")
        document = peergate("events", "-n", "1", "--only", "agent", "--session", "main", "--json")
    assert len(told.out.splitlines()) == 2
    assert 'agent:main:main stream=assistant data={"delta": "x"}' in told.out
    assert document.document["event"] == "agent"
    assert document.document["seq"] == 2


LOG_LINE = '{"ts": 0, "level": "info", "logger": "gateway", "msg": "ready", "pid": 7}'


def test_logs_read_json_lines_for_a_person(peergate: Shell):
    tail = {"file": "/x", "cursor": 9, "size": 9, "lines": ["plain words", LOG_LINE]}
    with FakeDoor(peergate.runtime, {"logs.tail": answering(tail)}) as door:
        told = peergate("logs", "-n", "5")
        assert peergate("logs", "--json").document == tail
    assert told.out.splitlines()[0] == "plain words"
    assert told.out.splitlines()[1].endswith("INFO    ready  [logger=gateway pid=7]")
    assert door.calls("logs.tail")[0]["limit"] == 5


def test_the_log_can_be_read_when_nothing_runs(peergate: Shell):
    logs = peergate.home / "state" / "logs"
    logs.mkdir(parents=True)
    (logs / "peergate.log").write_text("first\nlast words\n")
    told = peergate("logs", "-n", "1")
    assert (told.code, told.out) == (0, "last words\n")
    assert "this is" in told.err


def test_no_log_and_no_system_is_not_running(peergate: Shell):
    assert peergate("logs").code == 69


@pytest.mark.parametrize(
    "words", [("nonsense",), ("health", "--wat"), ("wait",), ("send", "main"), ("send", "not a name", "x")]
)
def test_a_command_line_without_sense_is_a_usage_error(peergate: Shell, words: tuple[str, ...]):
    told = peergate(*words)
    assert told.code == 2
    assert "Traceback" not in told.err


def test_a_misspelt_command_is_told_the_nearest(peergate: Shell):
    assert "Did you mean 'sessions'?" in peergate("session").err
