"""What a shell offers where an agent or a session is meant."""

from __future__ import annotations

from typing import Any

import pytest

from tests.supervisor.cli.support import Shell, answering
from tests.support.fake_door import FakeDoor, Handler, No, Silence

NAMES: dict[str, Handler] = {
    "agents.list": answering({"agents": [{"id": "main"}, {"id": "scout"}, {"id": "sc\x1bx"}]}),
    "sessions.list": answering({"sessions": [{"key": "agent:main:main"}, {"key": "agent:scout:work"}]}),
}


class Tab:
    """Somebody who presses the key that completes a command line."""

    def __init__(self, peergate: Shell, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._peergate, self._monkeypatch, self._capture = peergate, monkeypatch, capture

    def __call__(self, *words: str, shell: str = "zsh") -> list[str]:
        """The names that are offered for the last word."""
        self._monkeypatch.setenv("_PEERGATE_COMPLETE", f"{shell}_complete")
        self._monkeypatch.setenv("COMP_WORDS", " ".join(("peergate", *words)))
        self._monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit) as ended:
            self._peergate()
        told = self._capture.readouterr()
        assert (ended.value.code, told.err) == (0, "")
        lines = told.out.splitlines()
        return [line.partition(",")[2] for line in lines if line] if shell == "bash" else lines[1::3]


@pytest.fixture
def tab(peergate: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tab:
    monkeypatch.setattr("supervisor.cli.names.SECONDS", 30)  # a machine that is busy offers the same
    return Tab(peergate, monkeypatch, capsys)


@pytest.mark.parametrize(
    "words", [("agents", "stop"), *((name, "--agent") for name in ("sessions", "runs", "send", "spawn"))]
)
def test_agents_are_offered(peergate: Shell, tab: Tab, words: tuple[str, ...]):
    with FakeDoor(peergate.runtime, NAMES):
        assert tab(*words, "s") == ["scout"]
        assert tab(*words, "s", shell="bash") == ["scout"]


@pytest.mark.parametrize(
    "words",
    [
        ("send",), ("history",), ("abort",), ("runs", "--session"), ("mailbox", "list", "--session"),
        ("sessions", "--spawned-by"), ("spawn", "--session-key"),
    ],
)  # fmt: skip
def test_sessions_are_offered_but_not_to_bash_which_breaks_words_at_colons(
    peergate: Shell, tab: Tab, words: tuple[str, ...]
):
    with FakeDoor(peergate.runtime, NAMES):
        assert tab(*words, "a") == ["agent:main:main", "agent:scout:work"]
        assert tab(*words, "m") == ["main"]
        assert tab(*words, "m", shell="bash") == ["main"]
        assert tab(*words, "a", shell="bash") == []


def test_where_nothing_can_be_offered_nothing_is_said(peergate: Shell, tab: Tab, monkeypatch: pytest.MonkeyPatch):
    def silent(_: dict[str, Any]) -> Any:
        raise Silence

    def refuse(_: dict[str, Any]) -> Any:
        raise No("FORBIDDEN", "missing scope")

    monkeypatch.setattr("supervisor.cli.names.SECONDS", 0.05)
    assert tab("agents", "stop", "s") == []
    for answers in ({"connect": silent}, {"agents.list": silent}, {"agents.list": refuse}):
        with FakeDoor(peergate.runtime, answers):
            assert tab("agents", "stop", "s") == []
    with FakeDoor(peergate.runtime, NAMES):
        assert tab("--url", "wss://127.0.0.1:1", "agents", "stop", "s") == []
