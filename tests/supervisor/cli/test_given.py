"""Text and JSON a person gives: too long, not UTF-8, too deep; told before anything is sent."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from gateway.protocol.limits import MAX_MESSAGE_CHARS, MAX_PAYLOAD_BYTES
from supervisor.cli.errors import Usage
from supervisor.cli.given import json_object, message
from tests.supervisor.cli.support import Shell
from tests.support.fake_door import FakeDoor


@pytest.fixture
def door(peergate: Shell) -> Iterator[FakeDoor]:
    """A system that answers `echo`."""
    with FakeDoor(peergate.runtime, {"echo": lambda params: params}) as door:
        yield door


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch):
    """Give a command its standard input."""

    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return give


@pytest.mark.parametrize("words", [("send", "main", "-"), ("send", "main", "-", "--wait"), ("spawn", "-")])
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"x" * (30 * 1024 * 1024), f"is longer than the {MAX_MESSAGE_CHARS} characters it may have"),
        (b"x" * (MAX_MESSAGE_CHARS + 1), f"is longer than the {MAX_MESSAGE_CHARS} characters it may have"),
        (b"caf\xe9", "is not UTF-8 text"),
    ],
)
def test_a_message_that_cannot_be_sent_is_refused_before_a_system_is_asked(
    peergate: Shell, pipe, words: tuple[str, ...], data: bytes, told: str
):
    pipe(data)
    ended = peergate(*words)
    assert ended.code == 2
    assert told in ended.err


def test_a_message_may_be_as_long_as_the_contract_says(pipe):
    pipe("😀".encode() * MAX_MESSAGE_CHARS)
    assert message("-") == "😀" * MAX_MESSAGE_CHARS


def test_an_argument_that_is_not_utf8_is_told_too():
    with pytest.raises(Usage, match="the task is not UTF-8 text"):
        message("caf\udce9", "the task")


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ('{"a":' * 100_000, "PARAMS is nested too deep"),
        ('{"a": 18446744073709551616}', "cannot travel"),
        ('{"a": "\\ud800"}', "cannot travel"),
        ('{"a": 1' + "0" * 5000 + "}", "PARAMS is not JSON"),
        ("{", "PARAMS is not JSON"),
        ("[1]", "must be a JSON object"),
    ],
)
def test_json_that_cannot_be_sent_is_a_usage_error(peergate: Shell, door, params: str, told: str):
    ended = peergate("call", "echo", params)
    assert (ended.code, told in ended.err) == (2, True), ended
    assert door.calls("echo") == []


def test_params_longer_than_a_frame_are_not_read_to_their_end(pipe):
    pipe(b" " * (MAX_PAYLOAD_BYTES + 2))
    with pytest.raises(Usage, match=f"longer than the {MAX_PAYLOAD_BYTES} bytes"):
        json_object("-")


def test_a_call_larger_than_a_frame_is_not_sent(peergate: Shell, door):
    ended = peergate("call", "echo", '{"a": "' + "x" * MAX_PAYLOAD_BYTES + '"}')
    assert ended.code == 2
    assert "one call may have" in ended.err
    assert door.calls("echo") == []
