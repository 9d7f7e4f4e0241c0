"""Small disks of our own to fill and to break: a tmpfs, and ext4 on a loop device. Both need root.

Owns mounting and unmounting them; nothing that was there before is touched."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def tmpfs(where: Path, size: str = "6m") -> Iterator[Path]:
    """A disk in memory; the test is skipped where none may be mounted."""
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(where))
    except OSError as error:
        pytest.skip(f"no tmpfs can be mounted here: {error}")
    try:
        yield where
    finally:
        _run("umount", "--lazy", str(where))


class Ext4:
    """An ext4 file system in a file, mounted at `where`."""

    def __init__(self, image: Path, where: Path) -> None:
        self.where = where
        self.device = _run("losetup", "--find", "--show", str(image))

    def mount(self) -> None:
        _run("mount", "-o", "errors=remount-ro", self.device, str(self.where))

    def turn_read_only(self) -> None:
        """As the kernel does when it meets an error: also for files that are open for writing."""
        Path(f"/sys/fs/ext4/{Path(self.device).name}/trigger_fs_error").write_text("1")

    def mend(self) -> None:
        """Unmount, check, mount again. Nothing may be open on it."""
        _run("umount", str(self.where))
        subprocess.run(["e2fsck", "-fy", self.device], capture_output=True, check=False, timeout=30)
        self.mount()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            _run("umount", "--lazy", str(self.where))
        _run("losetup", "--detach", self.device)


@contextmanager
def ext4(image: Path, where: Path, mebibytes: int = 32) -> Iterator[Ext4]:
    """A mounted ext4; the test is skipped where there are no loop devices."""
    with image.open("wb") as file:
        file.truncate(mebibytes * 1024 * 1024)
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        _run("mkfs.ext4", "-q", "-F", str(image))
        disk = Ext4(image, where)
    except OSError as error:
        pytest.skip(f"no loop device can be had here: {error}")
    try:
        try:
            disk.mount()
        except OSError as error:
            pytest.skip(f"no ext4 can be mounted here: {error}")
        where.chmod(0o700)
        yield disk
    finally:
        disk.close()


@contextmanager
def mounted(image: Path, where: Path) -> Iterator[Path]:
    """An ext4 image, its journal replayed as after a power cut."""
    where.mkdir(exist_ok=True)
    disk = Ext4(image, where)
    try:
        disk.mount()
        yield where
    finally:
        disk.close()


def fill(file: Path) -> None:
    """Write until there is no room left."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for size in (65_536, 4096, 1):
            with contextlib.suppress(OSError):
                while os.write(descriptor, bytes(size)):
                    pass
    finally:
        os.close(descriptor)
