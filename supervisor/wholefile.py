"""Small files that are there whole or not at all, whatever the disk and the power do."""

from __future__ import annotations

import os


def replace_file(path: str, text: str, *, mode: int, durable: bool) -> None:
    """Put this text in the place of a file; `durable`: it is on the disk when this returns. Blocks for as long as the
    disk takes. Raises OSError; the old file then stands, unless it is the directory that could not be synced."""
    temporary = f"{path}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        left = memoryview(text.encode())
        while left:  # a disk that is nearly full takes a part, and says so at the next write only
            left = left[os.write(descriptor, left) :]
        if durable:
            os.fsync(descriptor)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
    if durable:
        _sync_directory(os.path.dirname(path))


def _sync_directory(path: str) -> None:
    """The new name is on the disk as well."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
