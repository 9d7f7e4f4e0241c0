"""What is brought to the disk, in which order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest


class Sync(NamedTuple):
    """One fsync(2): of what, and which names the directory had then."""

    of: str
    names: frozenset[str]


def watch_syncs(monkeypatch: pytest.MonkeyPatch, directory: Path) -> list[Sync]:
    """A list that grows with every fsync of this process."""
    seen: list[Sync] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        names = frozenset(one.name for one in directory.iterdir())
        seen.append(Sync(str(Path(f"/proc/self/fd/{descriptor}").readlink()), names))

    monkeypatch.setattr(os, "fsync", noted)
    return seen
