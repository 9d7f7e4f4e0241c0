"""What one file is: kind, language, lines, words, longest line, bytes and hash, read in pieces of bounded size.

Only a regular file is ever opened: opening a FIFO waits and opening a device may act. Names are `str` as Python has
them for files (undecodable bytes are lone surrogates); JSON writes those as escapes, so they travel in JSON text and
come back as they were."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
from pathlib import PurePosixPath
from typing import Any

import msgspec

CHUNK_BYTES = 1024 * 1024
SNIFF_BYTES = 64 * 1024

NAMES = {
    "makefile": "Make", "gnumakefile": "Make", "dockerfile": "Dockerfile", "cmakelists.txt": "CMake",
    "license": "Text", "readme": "Text", "jenkinsfile": "Groovy", "gemfile": "Ruby", "rakefile": "Ruby",
}  # fmt: skip
SUFFIXES = {
    ".py": "Python", ".pyi": "Python", ".js": "JavaScript", ".mjs": "JavaScript", ".cjs": "JavaScript",
    ".jsx": "JavaScript", ".ts": "TypeScript", ".tsx": "TypeScript", ".c": "C", ".h": "C", ".cc": "C++",
    ".cpp": "C++", ".hpp": "C++", ".rs": "Rust", ".go": "Go", ".java": "Java", ".kt": "Kotlin", ".swift": "Swift",
    ".rb": "Ruby", ".php": "PHP", ".pl": "Perl", ".lua": "Lua", ".sh": "Shell", ".bash": "Shell", ".zsh": "Shell",
    ".fish": "Shell", ".sql": "SQL", ".html": "HTML", ".htm": "HTML", ".css": "CSS", ".scss": "CSS",
    ".md": "Markdown", ".rst": "reStructuredText", ".txt": "Text", ".json": "JSON", ".json5": "JSON", ".toml": "TOML",
    ".yaml": "YAML", ".yml": "YAML", ".xml": "XML", ".svg": "XML", ".ini": "INI", ".cfg": "INI",
    ".conf": "Configuration", ".service": "INI", ".csv": "CSV", ".tex": "TeX", ".lock": "Lock file", ".zig": "Zig",
    ".nix": "Nix", ".tf": "Terraform", ".proto": "Protocol Buffers", ".r": "R", ".jl": "Julia", ".ex": "Elixir",
}  # fmt: skip
INTERPRETERS = {
    "python": "Python", "node": "JavaScript", "bash": "Shell", "sh": "Shell", "zsh": "Shell", "dash": "Shell",
    "perl": "Perl", "ruby": "Ruby", "lua": "Lua", "php": "PHP", "awk": "Awk", "fish": "Shell",
}  # fmt: skip
_SHEBANG = re.compile(rb"^#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+)*)?(?:\S*/)?([A-Za-z]+)[\d.]*")
_KINDS = (
    (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "symbolic link"), (stat.S_ISFIFO, "fifo"), (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "character device"), (stat.S_ISBLK, "block device"),
)  # fmt: skip


class Counter(msgspec.Struct):
    """Counts text that comes in pieces. A line ends at `\\n`; the last one counts without it. Lengths are in
    characters; a byte that is not UTF-8 counts as one."""

    lines: int = 0
    words: int = 0
    longest: int = 0
    _open: int = 0
    _in_word: bool = False

    def feed(self, text: str) -> None:
        """Take the next piece."""
        if not text:
            return
        first, *others = text.split("\n")
        self._open += len(first)
        for line in others:
            self._end_line()
            self._open = len(line)
        words = len(text.split())
        self.words += words - (1 if words and self._in_word and not text[0].isspace() else 0)
        self._in_word = not text[-1].isspace()

    def end(self) -> None:
        """There is no more."""
        if self._open:
            self._end_line()

    def _end_line(self) -> None:
        self.lines += 1
        self.longest = max(self.longest, self._open)
        self._open = 0


def report(root: str, path: str) -> dict[str, Any]:
    """The report on `path`, which is relative to `root`. Never raises for what a file system can hold: `error` then
    says what is wrong.

    `kind` is text, binary, empty, or (with `error`) missing, unreadable, outside, or what it is instead of a regular
    file. `lines`, `words` and `longestLine` are there for text, `bytes` and `sha256` for whatever could be read."""
    if os.path.isabs(path) or ".." in PurePosixPath(path).parts:
        return {"path": path, "kind": "outside", "error": "outside the folder that is surveyed: not opened"}
    try:
        # O_NONBLOCK: a FIFO put there meanwhile must not hold us. O_NOFOLLOW: a link may lead anywhere.
        return {"path": path, **_report_on(os.path.join(root, path))}
    except FileNotFoundError:
        return {"path": path, "kind": "missing", "error": "no such file"}
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        return {"path": path, "kind": "unreadable", "error": f"cannot be read: {words}"}


def report_on_text(text: str) -> dict[str, Any]:
    """The same figures for a text that is in no file."""
    data = text.encode("utf-8", "surrogateescape")
    counter = Counter()
    counter.feed(text)
    counter.end()
    return {"kind": "text", **_counts(counter), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _report_on(place: str) -> dict[str, Any]:
    mode = os.lstat(place).st_mode
    if not stat.S_ISREG(mode):
        return _special(mode)
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        mode = os.fstat(descriptor).st_mode
        return _read(descriptor, place) if stat.S_ISREG(mode) else _special(mode)
    finally:
        os.close(descriptor)


def _special(mode: int) -> dict[str, Any]:
    kind = next((name for is_it, name in _KINDS if is_it(mode)), "special file")
    return {"kind": kind, "error": f"not a regular file ({kind}): not opened"}


def _read(descriptor: int, place: str) -> dict[str, Any]:
    digest, size, counter = hashlib.sha256(), 0, Counter()
    # A byte that is no UTF-8 becomes one lone surrogate, so it counts as one character.
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    head, is_text = b"", True
    while chunk := os.read(descriptor, CHUNK_BYTES):
        if not size:
            head = chunk[:SNIFF_BYTES]
            is_text = b"\0" not in head
        digest.update(chunk)
        size += len(chunk)
        if is_text:
            counter.feed(decoder.decode(chunk))
    result: dict[str, Any] = {"bytes": size, "sha256": digest.hexdigest()}
    if not size:
        return {"kind": "empty", "language": language_of(place, b""), **_counts(counter), **result}
    if not is_text:
        return {"kind": "binary", "language": "Binary", **result}
    counter.feed(decoder.decode(b"", final=True))
    counter.end()
    return {"kind": "text", "language": language_of(place, head), **_counts(counter), **result}


def _counts(counter: Counter) -> dict[str, int]:
    return {"lines": counter.lines, "words": counter.words, "longestLine": counter.longest}


def language_of(path: str, head: bytes) -> str:
    """The language by name, by suffix, by the interpreter its first line names, or by how it begins; else Text."""
    name = PurePosixPath(path).name.lower()
    stem, suffix = name.split(".")[0], PurePosixPath(name).suffix
    if known := NAMES.get(name) or SUFFIXES.get(suffix) or NAMES.get(stem):
        return known
    if shebang := _SHEBANG.match(head):
        interpreter = shebang[1].decode().lower()
        return INTERPRETERS.get(interpreter, interpreter)
    start = head.lstrip()[:64].lower()
    for beginning, language in ((b"<?xml", "XML"), (b"<!doctype html", "HTML"), (b"<html", "HTML"), (b"<?php", "PHP")):
        if start.startswith(beginning):
            return language
    return "JSON" if start[:1] in (b"{", b"[") and head.rstrip()[-1:] in (b"}", b"]") else "Text"
