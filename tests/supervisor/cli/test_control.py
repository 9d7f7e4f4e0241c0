"""Stopping and reloading, as whoever may not: told why, and inside an agent that this is why."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.supervisor.cli.support import Shell
from tests.support.fake_door import FakeDoor


@pytest.fixture
def no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's answer to whoever may not, by uid or by a Landlock domain."""

    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)


@pytest.mark.parametrize("what", ["stop", "reload"])
def test_a_program_of_an_agent_is_told_that_it_may_not(
    peergate: Shell, no_signals: None, monkeypatch: pytest.MonkeyPatch, what: str
):
    monkeypatch.setenv("PEERGATE_AGENT", "scout")
    with FakeDoor(peergate.runtime, {}):
        told = peergate(what)
    assert told.code == 77
    assert f"a program of an agent (here scout) may not {what} the system" in told.err
    assert "uid" not in told.err


@pytest.mark.parametrize("what", ["stop", "reload"])
def test_another_uid_is_told_its_number(peergate: Shell, no_signals: None, monkeypatch: pytest.MonkeyPatch, what: str):
    monkeypatch.delenv("PEERGATE_AGENT", raising=False)
    with FakeDoor(peergate.runtime, {}):
        told = peergate(what)
    assert (told.code, "may not signal the supervisor" in told.err) == (77, True)


def test_a_door_that_cannot_be_trusted_is_told_as_that_inside_an_agent_too(
    peergate: Shell, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PEERGATE_AGENT", "scout")
    with FakeDoor(peergate.runtime, {}):
        peergate.runtime.chmod(0o777)
        told = peergate("stop")
    assert (told.code, "may be written by others" in told.err) == (77, True)
