"""The fixture every story about the command line uses: `peergate("health")`; and a system elsewhere for some."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervisor.cli.support import Shell
from tests.support.outer_door import make_certificate
from tests.support.outer_thread import FarAway, far_away


@pytest.fixture
def peergate(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Nothing runs in its directory unless the test opens a door there."""
    return Shell(tmp_path, capsys, monkeypatch)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where nothing is known of any system elsewhere."""
    for name in ("PEERGATE_URL", "PEERGATE_TOKEN", "PEERGATE_PASSWORD", "PEERGATE_SOCKET", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PEERGATE_DEVICE_DIR", str(tmp_path / "device"))
    monkeypatch.setattr("supervisor.cli.pair.LOOK_SECONDS", 0.05)
    return tmp_path


@pytest.fixture
def far(home: Path) -> Iterator[FarAway]:
    """A system elsewhere, with a certificate nobody vouches for."""
    (home / "far").mkdir()
    with far_away(home / "far", make_certificate(home)) as one:
        yield one
