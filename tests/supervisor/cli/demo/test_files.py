"""Which files the demo takes, and that nothing it looks at can make it wait."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from supervisor.cli.demo.files import MOST_FILES, default_root, find_files, sha256_of
from supervisor.cli.errors import CliError, Usage


def test_only_regular_files_outside_caches_are_taken_and_the_rest_is_said(tmp_path: Path):
    (tmp_path / "b.py").write_text("b")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").write_text("a")
    for name in (".git", "node_modules", "__pycache__"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "no.py").write_text("")
    (tmp_path / "link").symlink_to("b.py")
    os.mkfifo(tmp_path / "pipe")
    folder = find_files(str(tmp_path), None)
    assert folder.files == ("b.py", "sub/a.py")
    assert folder.left_out == {"links": 1, "devices, pipes and sockets": 1}


def test_a_link_to_a_folder_is_left_out_and_counted(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("a")
    (tmp_path / "again").symlink_to("folder")
    (tmp_path / "round").symlink_to(".")
    (tmp_path / ".venv").symlink_to("folder")
    folder = find_files(str(tmp_path), None)
    assert folder.files == ("folder/a",)
    assert folder.left_out == {"links": 2}


def test_an_empty_folder_is_a_folder(tmp_path: Path):
    assert find_files(str(tmp_path), None).files == ()


def test_one_file_is_its_folder_with_one_file(tmp_path: Path):
    (tmp_path / "x").write_text("x")
    folder = find_files(str(tmp_path / "x"), None)
    assert (folder.root, folder.files) == (str(tmp_path), ("x",))


def test_names_that_are_not_utf8_are_kept_as_they_are(tmp_path: Path):
    name = b"caf\xe9 \n'\"$(x)"
    Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_text("x")
    folder = find_files(str(tmp_path), None)
    assert [os.fsencode(path) for path in folder.files] == [name]
    assert sha256_of(folder.root, folder.files[0]) == hashlib.sha256(b"x").hexdigest()


def test_too_many_files_need_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(4):
        (tmp_path / str(number)).write_text("")
    monkeypatch.setattr("supervisor.cli.demo.files.MOST_FILES", 3)
    with pytest.raises(Usage, match="4 files") as caught:
        find_files(str(tmp_path), None)
    assert "--max 3" in str(caught.value.fix)
    folder = find_files(str(tmp_path), 2)
    assert folder.files == ("0", "1")
    assert folder.left_out == {"beyond --max 2": 2}
    assert MOST_FILES == 2000


def test_what_is_not_there_or_no_folder_is_said(tmp_path: Path):
    with pytest.raises(CliError, match="No such file"):
        find_files(str(tmp_path / "none"), None)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Usage, match="neither a file nor a folder"):
        find_files(str(tmp_path / "pipe"), None)


def test_hashing_never_opens_what_could_wait(tmp_path: Path):
    (tmp_path / "link").symlink_to("/etc/hostname")
    assert sha256_of(str(tmp_path), "link") is None
    assert sha256_of(str(tmp_path), "missing") is None


def test_a_file_that_changed_meanwhile_is_noticed(tmp_path: Path):
    (tmp_path / "x").write_text("before")
    folder = find_files(str(tmp_path), None)
    assert not folder.changed("x")
    (tmp_path / "x").write_text("after it")
    assert folder.changed("x")


def test_in_a_checkout_the_project_itself_is_surveyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "pyproject.toml").write_text("")
    module = tmp_path / "supervisor" / "cli" / "demo" / "__init__.py"
    assert default_root(str(module)) == str(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert default_root("/usr/lib/python3/site-packages/supervisor/cli/demo/__init__.py") == str(tmp_path)
