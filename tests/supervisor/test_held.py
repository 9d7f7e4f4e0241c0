"""Who is in quarantine is known to the next supervisor; holding somebody does not depend on it."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from supervisor.held import KeptQuarantine
from supervisor.logfile import Log
from supervisor.messages import MAX_REASON_CHARS


@pytest.fixture
def log() -> Log:
    return Log(stderr=False)


def test_the_next_one_knows_who_is_held_and_why(tmp_path: Path, log: Log):
    quarantine = KeptQuarantine(str(tmp_path), log)
    quarantine.hold("main", "it loops")
    quarantine.hold("scout", "x" * 2 * MAX_REASON_CHARS)
    assert KeptQuarantine(str(tmp_path), log).held == {"main": "it loops", "scout": "x" * MAX_REASON_CHARS}
    quarantine.release("scout")
    assert KeptQuarantine(str(tmp_path), log).held == {"main": "it loops"}
    assert [(file.name, file.stat().st_mode & 0o777) for file in tmp_path.iterdir()] == [("quarantine.json", 0o600)]


@pytest.mark.parametrize("text", ["", "[]", '{"main": 1}', "[" * 100_000, "\udcff"], ids=repr)
def test_what_is_no_table_holds_nobody_and_is_logged(tmp_path: Path, text: str):
    (tmp_path / "quarantine.json").write_bytes(text.encode(errors="surrogateescape"))
    with Log(stderr=False) as log:
        log.open_file(str(tmp_path / "log"), 10_000, 1)
        assert KeptQuarantine(str(tmp_path), log).held == {}
    assert "quarantine.json cannot be read" in json.loads((tmp_path / "log").read_text())["msg"]


def test_with_a_full_disk_an_agent_is_held_and_what_was_written_stands(tmp_path: Path, log: Log):
    quarantine = KeptQuarantine(str(tmp_path), log)
    quarantine.hold("main", "it loops")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as a disk that has room for so many bytes
    try:
        quarantine.hold("scout", "x" * 200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert set(quarantine.held) == {"main", "scout"}
    assert KeptQuarantine(str(tmp_path), log).held == {"main": "it loops"}
