"""What a device remembers of gateways: one place for each, whoever else writes at the same time."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from gateway.client.keep import BadKeep
from gateway.client.known import Known, recall, remember_pin, remember_tokens

AUTH = {"role": "operator", "scopes": ["operator.read"], "deviceToken": "t-1", "issuedAtMs": 5}


def test_nothing_is_known_of_a_gateway_never_seen(tmp_path: Path):
    assert recall(str(tmp_path), "box:1", "operator") == Known()
    remember_pin(str(tmp_path), "box:1", "sha256:aa")
    assert recall(str(tmp_path), "box:1", "operator") == Known("sha256:aa")
    assert recall(str(tmp_path), "box:2", "operator") == Known()


def test_each_role_has_its_token_and_a_new_one_replaces_the_old(tmp_path: Path):
    place = str(tmp_path)
    remember_pin(place, "box:1", "sha256:aa")
    node = {"role": "node", "scopes": [], "deviceToken": "n-1", "issuedAtMs": 6}
    remember_tokens(place, "box:1", {**AUTH, "deviceTokens": [node]})
    remember_tokens(place, "box:1", {**AUTH, "deviceToken": "t-2"})
    assert recall(place, "box:1", "operator") == Known("sha256:aa", "t-2", ("operator.read",))
    assert recall(place, "box:1", "node") == Known("sha256:aa", "n-1")
    assert "t-2" not in repr(recall(place, "box:1", "operator"))
    assert (tmp_path / "known.json").stat().st_mode & 0o777 == 0o600


def test_a_hello_without_a_token_changes_nothing(tmp_path: Path):
    remember_tokens(str(tmp_path), "box:1", {"role": "operator", "scopes": [], "method": "none"})
    assert not (tmp_path / "known.json").exists()


@pytest.mark.parametrize(
    "odd",
    [
        {"deviceTokens": 5},
        {"scopes": 5},
        {"scopes": {"a": 1}},
        {"deviceTokens": [7, {"deviceToken": "x", "scopes": 7}]},
    ],
)
def test_what_is_odd_in_a_hello_is_passed_over(odd: dict[str, object], tmp_path: Path):
    remember_tokens(str(tmp_path), "box:1", AUTH | {"scopes": ["operator.read", 5]} | odd)
    scopes = () if "scopes" in odd else ("operator.read",)
    assert recall(str(tmp_path), "box:1", "operator") == Known("", "t-1", scopes)


def test_what_is_known_already_is_not_written_again(tmp_path: Path):
    remember_tokens(str(tmp_path), "box:1", AUTH)
    before = (tmp_path / "known.json").stat()
    remember_tokens(str(tmp_path), "box:1", AUTH)
    assert (tmp_path / "known.json").stat().st_ino == before.st_ino


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path):
    threads = [
        threading.Thread(target=remember_pin, args=(str(tmp_path), f"box:{number}", "sha256:aa"))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads((tmp_path / "known.json").read_text())["gateways"]) == 16


def test_a_draft_of_a_writer_that_was_killed_is_in_nobodys_way(tmp_path: Path):
    (tmp_path / ".known.json.new").write_text("{")
    remember_pin(str(tmp_path), "box:1", "sha256:aa")
    assert recall(str(tmp_path), "box:1", "operator").pin == "sha256:aa"


@pytest.mark.parametrize("text", ["[]", "{", '{"version": 2}', '{"version": 1, "gateways": []}'])
def test_a_file_that_cannot_be_understood_is_left_alone(tmp_path: Path, text: str):
    file = tmp_path / "known.json"
    file.write_text(text)
    file.chmod(0o600)
    for use in (lambda: recall(str(tmp_path), "box:1", "operator"), lambda: remember_pin(str(tmp_path), "box:1", "x")):
        with pytest.raises(BadKeep, match="move it away"):
            use()
    assert file.read_text() == text
