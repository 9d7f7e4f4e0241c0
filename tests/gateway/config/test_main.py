"""The command as the supervisor starts it: one document on stdout, or problems on stderr and exit 78."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config import settings_from_resolved


def run(tmp_path: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-I", "-m", "gateway.config", "--resolve", *arguments]
    return subprocess.run(command, cwd="/", env={"HOME": str(tmp_path), **environ}, capture_output=True, timeout=30)


def test_a_variable_that_is_not_utf_8_is_a_problem_and_not_a_traceback(tmp_path):
    answer = run(tmp_path, PEERGATE_GATEWAY_TOKEN=os.fsdecode(b"caf\xe9"))
    assert (answer.returncode, answer.stdout) == (78, b"")
    assert answer.stderr.startswith(
        b"peergate: environment PEERGATE_GATEWAY_TOKEN: gateway.auth.token: found a string;"
    )


def test_a_file_flags_and_environment_become_one_document(tmp_path):
    file = tmp_path / "peergate.toml"
    file.write_text("[gateway]\nbind = 'loopback'\nport = 1\n[hooks]\nenabled = true\n[agents.entries.a]\n")
    answer = run(tmp_path, "--config", str(file), "--set", "gateway.port=4000", PEERGATE_LOG_LEVEL="debug")
    assert (answer.returncode, answer.stderr) == (0, b"")
    document = json.loads(answer.stdout)
    assert list(document) == ["source", "warnings", "supervisor", "settings"]
    assert document["source"] == str(file)
    assert document["warnings"] == ["hooks: known to OpenClaw, not served here; ignored"]
    assert document["supervisor"]["logging"]["level"] == "debug"
    assert list(document["supervisor"]["agents"]) == ["a"]
    assert settings_from_resolved(answer.stdout).gateway.port == 4000


@pytest.mark.parametrize(
    ("text", "arguments", "lines"),
    [
        ("[gateway]\nprot = 1\nbind = 'lna'\n", (), 2),
        ("[gateway\n", (), 1),
        ("[gateway.unix]\noperators = ['no such user here']\n", (), 1),
        ("", ("--set", "gateway.port=99999"), 1),
        ("", ("--set", "gateway.port"), 1),
        ("", ("--config", "/no/such/file.toml"), 1),
    ],
    ids=["keys", "syntax", "names", "flag", "no value", "no file"],
)
def test_what_is_wrong_is_one_line_each_and_exit_78(tmp_path, text, arguments, lines):
    file = tmp_path / "peergate.toml"
    file.write_text(text)
    answer = run(tmp_path, "--config", str(file), *arguments)
    said = answer.stderr.decode().splitlines()
    assert (answer.returncode, answer.stdout) == (78, b"")
    assert len(said) == lines
    assert all(line.startswith("peergate: ") and "allowed: " in line for line in said)
