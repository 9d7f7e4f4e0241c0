"""Running one command line inside the test's process, as a person or a program would see it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli import run
from tests.support.fake_door import Handler


def answering(payload: Any) -> Handler:
    """A method that always answers the same."""
    return lambda _: payload


def tools(**results: Any) -> dict[str, Handler]:
    """The session tools, each with one result."""
    return {"tools.invoke": lambda params: results[params["name"]]}


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


class Shell:
    """A shell with its own runtime directory and home, in which `peergate …` is typed."""

    def __init__(self, home: Path, capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.runtime = home / "run"
        self._capture = capture
        for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "PEERGATE_GATEWAY_PORT"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("PEERGATE_RUNTIME_DIR", str(self.runtime))
        monkeypatch.setenv("PEERGATE_STATE_DIR", str(home / "state"))
        monkeypatch.setenv("PEERGATE_CONFIG", str(home / "peergate.toml"))

    def __call__(self, *words: str) -> Ended:
        self._capture.readouterr()
        code = run(words)
        told = self._capture.readouterr()
        return Ended(code, told.out, told.err)
