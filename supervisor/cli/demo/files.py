"""Which files the demo surveys, and what their hashes really are.

Owns: the walk (regular files only, nothing that is opened could wait) and the hash computed here, independently of
the agents."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from supervisor.cli.errors import CliError, Usage

SKIPPED = frozenset({
    ".git", ".hg", ".svn", ".bzr", ".jj", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", ".hypothesis", ".import_linter_cache", ".tox", ".nox", ".cache", ".eggs", "htmlcov",
})  # fmt: skip
MOST_FILES = 2000
"""As many reports as fit one frame of a worker (1 MiB) with room to spare."""
_CHUNK = 1024 * 1024


Stamp = tuple[int, int, int]
"""Inode, size, time of the last change."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What is surveyed: paths relative to `root`, and what was left out and why."""

    root: str
    files: tuple[str, ...]
    left_out: dict[str, int] = field(default_factory=dict)
    stamps: dict[str, Stamp | None] = field(default_factory=dict)

    def changed(self, path: str) -> bool:
        """Whether a file is no longer the one that was found: then nobody's hash of it is wrong."""
        return stamp_of(self.root, path) != self.stamps.get(path)


def stamp_of(root: str, path: str) -> Stamp | None:
    """What changes with a file's content, or None when it is gone."""
    try:
        found = os.lstat(os.path.join(root, path))
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _folder(root: str, files: list[str], left_out: dict[str, int]) -> Folder:
    return Folder(root, tuple(files), left_out, {path: stamp_of(root, path) for path in files})


def default_root(here: str) -> str:
    """The project this command comes from when it runs in a checkout, else the current directory."""
    project = here
    for _ in range(4):
        project = os.path.dirname(project)
    return project if os.path.isfile(os.path.join(project, "pyproject.toml")) else os.getcwd()


def find_files(path: str, most: int | None) -> Folder:
    """The regular files at or below `path`, sorted. Raises Usage for more than MOST_FILES unless `most` says to take
    only the first."""
    root = os.path.abspath(path)
    try:
        found = os.stat(root)
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}") from None
    if stat.S_ISREG(found.st_mode):
        return _folder(os.path.dirname(root), [os.path.basename(root)], {})
    if not stat.S_ISDIR(found.st_mode):
        raise Usage(f"{path} is neither a file nor a folder")
    left_out: dict[str, int] = {}
    files = list(_walk(root, left_out))
    if most is None and len(files) > MOST_FILES:
        raise Usage(
            f"{len(files)} files are below {path}",
            fix=f"name a smaller folder, or take the first ones with --max {MOST_FILES}",
        )
    if most is not None and len(files) > most:
        left_out[f"beyond --max {most}"] = len(files) - most
        files = files[:most]
    return _folder(root, files, left_out)


def _walk(root: str, left_out: dict[str, int]) -> Iterator[str]:
    def leave_out(why: str) -> None:
        left_out[why] = left_out.get(why, 0) + 1

    for folder, folders, names in os.walk(root, onerror=lambda error: leave_out("unreadable folders")):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]  # os.walk does not follow them
        for name in sorted(names + links):
            place = os.path.join(folder, name)
            try:
                mode = os.lstat(place).st_mode
            except OSError:
                leave_out("gone while we looked")
                continue
            if stat.S_ISREG(mode):
                yield os.path.relpath(place, root)
            else:
                leave_out("links" if stat.S_ISLNK(mode) else "devices, pipes and sockets")


def sha256_of(root: str, path: str) -> str | None:
    """The hash of one file, or None where it cannot be read."""
    digest = hashlib.sha256()
    try:
        # O_NONBLOCK: something else may stand there by now.
        handle = os.open(os.path.join(root, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()
