"""`peergate up` without a terminal, as a script or a unit file starts it: one plain line says when it is ready."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.system import System, eventually

PEERGATE = str(Path(sys.executable).with_name("peergate"))


def test_a_script_reads_one_line_when_the_system_is_ready():
    system = System()
    words = [PEERGATE, "up", "--config", str(system.config)]
    environment = {**os.environ, "PEERGATE_RUNTIME_DIR": str(system.runtime), "PEERGATE_STATE_DIR": str(system.state)}
    try:
        with system.errors.open("wb") as log:
            system.process = subprocess.Popen(words, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        line = f"peergate is ready (pid {system.pid}); operators {system.operator}, agents {system.agents}, outer "
        eventually(lambda: line in system.log(), seconds=30)
        addresses = json.loads(system.cli("status", "--json").stdout)["addresses"]
        assert f"{line}{', '.join(addresses)}\n" in system.log()
        assert system.cli("health").returncode == 0
        assert len(re.findall("peergate is ready", system.log())) == 1
        assert system.stop() == 0
    finally:
        system.remove()


def test_nothing_says_ready_when_the_start_is_refused():
    system = System({"gatway": {}})
    try:
        ended = system.cli("up")
        assert ended.returncode == 78
        assert "peergate is ready" not in ended.stderr
    finally:
        system.remove()


def test_a_directory_that_cannot_be_used_is_told_with_what_mends_it(tmp_path: Path):
    (tmp_path / "file").write_text("")
    system = System()
    try:
        for flag in ("--state-dir", "--runtime-dir"):
            ended = system.cli("up", flag, str(tmp_path / "file" / "peergate"))
            assert ended.returncode == 1
            assert "file/peergate cannot be used: File exists; move away the file" in ended.stderr
            assert f"or name another with {flag}" in ended.stderr
    finally:
        system.remove()
