"""The commands that need no system: configuration, first steps, checks, completion, versions."""

from __future__ import annotations

import json
import re
import resource

import pytest

from supervisor.cli import COMMANDS
from supervisor.cli.template import TEMPLATE
from supervisor.cli.up import supervisor_argv
from tests.supervisor.cli.support import Shell


def test_init_writes_once_and_what_it_wrote_is_valid(peergate: Shell):
    file = peergate.home / "peergate.toml"
    told = peergate("init", "--json")
    assert told.document["file"] == str(file)
    assert file.stat().st_mode & 0o777 == 0o600
    again = peergate("init")
    assert again.code == 1
    assert "--force" in again.err
    assert peergate("init", "--force").code == 0
    valid = peergate("config", "validate", "--json").document
    assert valid == {"ok": True, "source": str(file), "warnings": [], "problems": []}


def test_init_that_finds_no_room_leaves_nothing_behind(peergate: Shell):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as a disk that has room for so many bytes
    try:
        told = peergate("init", str(peergate.home / "new" / "peergate.toml"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert told.code == 1
    assert "File too large" in told.err
    assert list((peergate.home / "new").iterdir()) == []


def test_init_writes_only_what_it_can_read_back(peergate: Shell):
    assert peergate("init", str(peergate.home / "x.json")).code == 1


def test_every_line_of_the_template_may_be_uncommented(peergate: Shell):
    keys = re.compile(r"^# (\[|[A-Za-z]+ = )", re.MULTILINE)
    whole = "\n".join(line[2:] if keys.match(line) else line for line in TEMPLATE.splitlines())
    file = peergate.home / "whole.toml"
    file.write_text("\n".join(line for line in whole.splitlines() if not line.startswith("uids =")))
    told = peergate("config", "validate", str(file), "--json")
    assert told.document["problems"] == []


def test_a_wrong_configuration_names_the_key_and_the_nearest_spelling(peergate: Shell):
    file = peergate.home / "wrong.toml"
    file.write_text('[gatway]\nport = 1\n[logging]\nlevel = "loud"\n')
    told, document = peergate("config", "validate", str(file)), peergate("config", "validate", str(file), "--json")
    assert told.code == document.code == 78
    assert 'did you mean "gateway"?' in told.err
    assert {problem["path"] for problem in document.document["problems"]} == {"gatway", "logging.level"}
    assert document.document["ok"] is False


def test_config_get_prints_a_value_or_a_tree(peergate: Shell):
    (peergate.home / "peergate.toml").write_text("[gateway]\nport = 19000\n")
    assert peergate("config", "get", "gateway.port").out == "19000\n"
    assert peergate("config", "get", "gateway", "--json").document["port"] == 19000
    wrong = peergate("config", "get", "gateway.prot")
    assert wrong.code == 78
    assert 'did you mean "port"?' in wrong.err


def test_config_path_tells_the_file_that_is_read(peergate: Shell):
    assert peergate("config", "path").out == f"{peergate.home / 'peergate.toml'}\n"


def test_config_schema_is_json_schema(peergate: Shell):
    assert peergate("config", "schema").document["title"] == "peergate configuration"


def test_doctor_says_that_one_uid_is_no_boundary(peergate: Shell):
    (peergate.home / "peergate.toml").write_text("")
    told = peergate("doctor", "--json")
    checks = {check["name"]: check for check in told.document["checks"]}
    assert "attribution, not a boundary" in checks["agents' uids"]["found"]
    assert checks["package supervisor"]["status"] == "ok"
    assert checks["running system"]["found"].startswith("none")
    assert all(check["fix"] for check in checks.values() if check["status"] != "ok")


def test_doctor_fails_when_the_configuration_is_wrong(peergate: Shell):
    (peergate.home / "peergate.toml").write_text("wrong = 1\n")
    told = peergate("doctor")
    assert told.code == 1
    assert re.search(r"^fail  configuration: ", told.out, re.MULTILINE)


def test_doctor_notices_a_directory_others_may_write(peergate: Shell):
    (peergate.home / "peergate.toml").write_text("")
    peergate.runtime.mkdir()
    peergate.runtime.chmod(0o777)
    told = peergate("doctor")
    assert told.code == 1
    assert f"chmod go-w {peergate.runtime}" in told.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_us(peergate: Shell, shell: str):
    assert "_PEERGATE_COMPLETE" in peergate("completion", shell).out


def test_version_tells_the_protocol(peergate: Shell):
    document = peergate("version", "--json").document
    assert document["protocol"] == 4
    assert peergate("--version").out == f"peergate {document['peergate']}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(peergate: Shell, name: str):
    told = peergate(name, "--help")
    assert told.code == 0
    assert "Examples:\n" in told.out
    assert "--json" in told.out
    assert f"peergate {name}" in told.out


def test_the_exit_codes_are_in_the_help(peergate: Shell):
    told = peergate("--help").out
    assert all(re.search(rf"^\s+{code}\s", told, re.MULTILINE) for code in (0, 1, 2, 69, 77, 78))
    assert all(re.search(rf"^  {name}\s", told, re.MULTILINE) for name in COMMANDS)


def test_up_starts_an_isolated_interpreter():
    argv = supervisor_argv("/r", "/s", "/c", ready=5, wait=True, settings=["a.b=1"])
    assert argv[1:] == [
        "-I", "-m", "supervisor", "--runtime-dir", "/r", "--state-dir", "/s", "--config", "/c",
        "--ready-fd", "5", "--wait", "--set", "a.b=1",
    ]  # fmt: skip


def test_json_output_is_one_document(peergate: Shell):
    for words in (("version",), ("config", "schema"), ("config", "path"), ("doctor",), ("health",)):
        json.loads(peergate(*words, "--json").out)
