"""Any method by name, events, the log, and command lines that make no sense."""

from __future__ import annotations

import pytest

from supervisor.cli.stream import log_text
from tests.supervisor.cli.support import Shell, answering
from tests.support.fake_door import FakeDoor


def test_call_reaches_any_method(peergate: Shell):
    with FakeDoor(peergate.runtime, {"echo": lambda params: params}) as door:
        assert peergate("call", "echo", '{"a": [1]}').document == {"a": [1]}
        assert peergate("call", "--methods").document == ["connect", "echo"]
        unknown = peergate("call", "nope")
        assert (unknown.code, unknown.err.splitlines()[1]) == (1, "  peergate call --methods lists those you may call")
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


def test_a_device_that_waits_is_shown_with_the_command_to_type(peergate: Shell):
    with FakeDoor(peergate.runtime, {}) as door:
        door.events = [{"event": "device.pair.requested", "payload": {"requestId": "6d96371b", "ts": 1}, "seq": 1}]
        (line,) = peergate("events", "-n", "1").out.splitlines()
    assert line.endswith("requestId=6d96371b: peergate devices approve 6d96371b")


def test_logs_read_json_lines_for_a_person(peergate: Shell):
    tail = {"file": "/x", "cursor": 9, "size": 9, "lines": ["plain words", LOG_LINE]}
    with FakeDoor(peergate.runtime, {"logs.tail": answering(tail)}) as door:
        told = peergate("logs", "-n", "5")
        assert peergate("logs", "--json").document == tail
    assert told.out.splitlines()[0] == "plain words"
    assert told.out.splitlines()[1].endswith("INFO    ready  [logger=gateway pid=7]")
    assert door.calls("logs.tail")[0]["limit"] == 5


def test_a_line_of_the_log_is_told_once_where_the_gateway_tells_it_twice():
    told = log_text('{"ts": 0, "level": "info", "logger": "g", "msg": "ready", "message": "ready", "time": "…"}')
    assert told.endswith("INFO    ready  [logger=g]")
    assert log_text('{"msg": "ready", "message": "another"}').endswith("[message=another]")


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


@pytest.mark.parametrize(
    ("words", "message", "fix"),
    [
        (("nonsense",), "There is no command 'nonsense'.", "peergate --help"),
        (("health", "--wat"), "No such option", "peergate health --help"),
        (("wait",), "Missing argument 'RUN'.", "peergate wait --help"),
        (("wait", "r", "--timeout", "soon"), "Invalid value for '--timeout'", "peergate wait --help"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_with_json_a_usage_error_is_one_document_too(
    peergate: Shell, words: tuple[str, ...], message: str, fix: str, first: bool
):
    told = peergate("--json", *words) if first else peergate(*words, "--json")
    error = told.document["error"]
    assert (told.code, error["code"], error["exitCode"], error["fix"]) == (2, "USAGE", 2, fix)
    assert error["message"].startswith(message)
    assert told.err


@pytest.mark.parametrize(("words", "fix"), [((), "peergate --help"), (("config",), "peergate config --help")])
def test_with_json_a_missing_command_is_no_page_of_help_on_stdout(peergate: Shell, words: tuple[str, ...], fix: str):
    told = peergate("--json", *words)
    assert (told.code, told.document["error"]["message"], told.document["error"]["fix"]) == (2, "Missing command.", fix)
    assert "Usage:" in told.err


def test_json_after_two_dashes_is_a_value_and_no_option(peergate: Shell):
    assert peergate("wait", "--wat", "--", "--json").out == ""


def test_a_misspelt_command_is_told_the_nearest(peergate: Shell):
    assert "Did you mean 'sessions'?" in peergate("session").err
