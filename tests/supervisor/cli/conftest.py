"""The fixture every story about the command line uses: `peergate("health")`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.supervisor.cli.support import Shell


@pytest.fixture
def peergate(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Nothing runs in its directory unless the test opens a door there."""
    return Shell(tmp_path, capsys, monkeypatch)
