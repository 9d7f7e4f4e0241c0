"""What a file report says of every kind of thing a folder can hold."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentproc.builtin import filereport
from agentproc.builtin.filereport import Counter, language_of, report, report_on_text


def write(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return name


def test_a_text_file_is_counted(tmp_path: Path):
    data = b"#!/usr/bin/env python3\nprint('hi there')\n\nlast line without end"
    found = report(str(tmp_path), write(tmp_path, "tool", data))
    assert found == {
        "path": "tool", "kind": "text", "language": "Python", "lines": 4, "words": 8, "longestLine": 22,
        "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip


def test_an_empty_file_is_empty_and_no_error(tmp_path: Path):
    found = report(str(tmp_path), write(tmp_path, "empty.py", b""))
    assert (found["kind"], found["lines"], found["words"], found["longestLine"], found["bytes"]) == (
        "empty",
        0,
        0,
        0,
        0,
    )
    assert "error" not in found


def test_a_binary_file_has_size_and_hash_but_no_lines(tmp_path: Path):
    found = report(str(tmp_path), write(tmp_path, "x.bin", b"\x7fELF\0\0\n\n"))
    assert found["kind"] == "binary"
    assert found["bytes"] == 8
    assert "lines" not in found


def test_bytes_that_are_no_utf8_count_as_one_character_each(tmp_path: Path):
    found = report(str(tmp_path), write(tmp_path, "latin.txt", "caf\xe9 \xfc\n".encode("latin-1")))
    assert (found["kind"], found["longestLine"], found["words"]) == ("text", 6, 2)


def test_a_name_that_is_no_utf8_travels_and_is_found(tmp_path: Path):
    name = os.fsdecode(b"odd-\xff\n name")
    Path(tmp_path, name).write_bytes(b"x")
    assert report(str(tmp_path), name)["path"] == name
    assert report(str(tmp_path), name)["bytes"] == 1


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: os.mkfifo(path), "fifo"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.symlink_to("/etc/passwd"), "symbolic link"),
        (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "socket"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_regular_file_is_never_opened(tmp_path: Path, make, kind: str):
    make(tmp_path / "it")
    found = report(str(tmp_path), "it")
    assert found == {"path": "it", "kind": kind, "error": f"not a regular file ({kind}): not opened"}


def test_a_device_is_never_opened():
    assert report("/dev", "zero")["kind"] == "character device"


def test_a_missing_file_says_so(tmp_path: Path):
    assert report(str(tmp_path), "gone") == {"path": "gone", "kind": "missing", "error": "no such file"}


def test_an_unreadable_file_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Root may read everything, so the kernel's refusal is brought about by a name no file system takes."""
    assert report(str(tmp_path), "x" * 300)["error"] == "cannot be read: File name too long"
    assert report(str(tmp_path), "nul\0byte")["error"].startswith("cannot be read: ")
    write(tmp_path, "is-a-file", b"")
    assert report(str(tmp_path), "is-a-file/below")["error"] == "cannot be read: Not a directory"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x"])
def test_nothing_outside_the_folder_is_opened(tmp_path: Path, path: str):
    assert report(str(tmp_path), path)["kind"] == "outside"


@pytest.mark.parametrize(
    ("name", "head", "language"),
    [
        ("a.py", b"", "Python"),
        ("A.PY", b"", "Python"),
        ("Makefile", b"", "Make"),
        ("Dockerfile.dev", b"", "Dockerfile"),
        ("README", b"", "Text"),
        ("run", b"#!/bin/sh\n", "Shell"),
        ("run", b"#!/usr/bin/env -S python3.12 -I\n", "Python"),
        ("run", b"#!/usr/local/bin/frobnicate\n", "frobnicate"),
        ("data", b'{"a": 1}\n', "JSON"),
        ("page", b"\n<!DOCTYPE html><html>", "HTML"),
        ("page", b"<?xml version='1.0'?>", "XML"),
        ("notes", b"just words", "Text"),
        ("x.unknownsuffix", b"\xff\xfe", "Text"),
    ],
)
def test_the_language_is_found_by_name_then_shebang_then_beginning(name: str, head: bytes, language: str):
    assert language_of(f"/some/{name}", head) == language


@given(st.lists(st.text(alphabet=st.sampled_from("ab \n\t\u00e9\u2003\r")), max_size=12))
def test_counting_in_pieces_is_counting_the_whole(pieces: list[str]):
    text = "".join(pieces)
    counter = Counter()
    for piece in pieces:
        counter.feed(piece)
    counter.end()
    lines = text.split("\n")
    expected = len(lines) - (1 if lines[-1] == "" else 0)
    assert (counter.lines, counter.words) == (expected, len(text.split()))
    assert counter.longest == max(map(len, lines))


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_read_in_any_pieces_give_one_report(tmp_path: Path, data: bytes):
    write(tmp_path, "f", data)
    whole = report(str(tmp_path), "f")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filereport, "CHUNK_BYTES", 7)
        # Whether it is binary, and its language, are looked for in its first piece, which is short here.
        pieces = report(str(tmp_path), "f")
    assert whole["sha256"] == pieces["sha256"] == hashlib.sha256(data).hexdigest()
    if whole["kind"] == "text":
        assert pieces | {"language": None} == whole | {"language": None}


@given(st.text(max_size=200))
def test_a_text_and_a_file_of_it_are_the_same(text: str):
    found = report_on_text(text)
    assert found["bytes"] == len(text.encode())
    assert found["lines"] == text.count("\n") + (1 if text and not text.endswith("\n") else 0)
