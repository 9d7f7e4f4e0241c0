"""The directory where this device keeps its key and what it knows of gateways: who may see it, and how it is written.

Nobody but the user may write to it, nobody else may read a file in it, a file is replaced whole, and writers take
turns. Plain functions that block for as long as a disk does; call them in a thread."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LOCK = "lock"
MAX_FILE_BYTES = 1024 * 1024


class BadKeep(Exception):
    """The directory, or a file in it, is not one to put a key in; the sentence says why and what to do."""


def keep_directory(environ: Mapping[str, str]) -> str:
    """Where it is: PEERGATE_DEVICE_DIR, else `peergate` in XDG_CONFIG_HOME or ~/.config."""
    named = environ.get("PEERGATE_DEVICE_DIR")
    if named:
        return str(Path(named).absolute())
    base = environ.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):  # a relative one must be ignored (XDG Base Directory Specification 0.8)
        base = f"{environ.get('HOME') or Path.home()}/.config"
    return f"{base.rstrip('/')}/peergate"


@contextmanager
def opened(directory: str, *, alone: bool = False) -> Iterator[int]:
    """A descriptor of the directory, which is made if need be and has been looked at; `alone` keeps other writers out
    until the end. Raises BadKeep."""
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BadKeep(f"{directory} cannot be used: {error.strerror} (another: PEERGATE_DEVICE_DIR)") from None
    try:
        _look_at(directory, os.fstat(handle))
        if not alone:
            yield handle
            return
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=handle)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(lock)
    except OSError as error:
        raise BadKeep(f"{directory}: {error.strerror}") from None
    finally:
        os.close(handle)


def _look_at(directory: str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise BadKeep(
            f"{directory} belongs to uid {found.st_uid}, and you are uid {os.geteuid()}: no key is kept there"
            " (another: PEERGATE_DEVICE_DIR)"
        )
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise BadKeep(f"{directory} may be written by others, who could exchange the key: chmod go-w {directory}")


def read(handle: int, directory: str, name: str) -> dict[str, Any] | None:
    """The object in a file, or None when there is no such file. Raises BadKeep for one that others may read, that is
    not ours, or that is damaged."""
    path = f"{directory}/{name}"
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadKeep(f"{path} cannot be read: {error.strerror}") from None
    with os.fdopen(file, "rb") as opened_file:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise BadKeep(f"{path} is not a file of yours: remove it")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise BadKeep(f"{path} may be read or written by others: chmod 600 {path}")
        try:
            told = json.loads(opened_file.read(MAX_FILE_BYTES))
        except (ValueError, RecursionError):
            told = None
    if not isinstance(told, dict):
        raise BadKeep(f"{path} is damaged: move it away; this device will have to be paired again")
    return told


def write(handle: int, name: str, document: Mapping[str, Any]) -> None:
    """Replace a file as a whole, 0600 and on disk before it counts. Call it while alone."""
    data = json.dumps(document, indent=1).encode() + b"\n"
    draft = f".{name}.new"
    with suppress(FileNotFoundError):  # of a writer that was killed
        os.unlink(draft, dir_fd=handle)
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=handle)
    with os.fdopen(file, "wb") as opened_file:
        opened_file.write(data)
        opened_file.flush()
        os.fsync(file)
    os.rename(draft, name, src_dir_fd=handle, dst_dir_fd=handle)
    os.fsync(handle)
