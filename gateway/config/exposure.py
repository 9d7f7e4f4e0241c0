"""Whether an agent could rewrite the configuration that governs it.

Owns the look at a file and its parents. `writable_by` is pure; `exposures` stats the real ones."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gateway.config.settings import Settings, UidRange


def writable_by(mode: int, uid: int, gid: int, agents: UidRange) -> bool:
    """Whether a process of an agent uid may write, or rename something in, an inode with this mode and owner.

    In a sticky directory (mode 1777) nobody renames what is not theirs (open(2), unlink(2)), so it gives nothing."""
    if uid in agents.members:
        return True
    open_to = bool(mode & stat.S_IWOTH) or (gid == agents.gid and bool(mode & stat.S_IWGRP))
    return open_to and not (stat.S_ISDIR(mode) and bool(mode & stat.S_ISVTX))


def exposures(source: Path, settings: Settings) -> Iterator[str]:
    """What gives the configuration file away to an agent, one sentence each; nothing when nothing does."""
    real = _real(source)
    for agent_id in settings.agents.entries:
        place = settings.workspace_of(agent_id)
        if place and real.is_relative_to(_real(Path(place))):
            yield f"it lies in the workspace of agent {agent_id} ({place})"
    agents = settings.supervisor.uids
    for path in (real, *real.parents) if agents else ():
        status = path.stat()
        if agents and writable_by(status.st_mode, status.st_uid, status.st_gid, agents):
            yield f"{path} may be written by an agent's uid"


def _real(path: Path) -> Path:
    """`path` without links; unlike Path.resolve of Python 3.11, a loop of links is no error."""
    return Path(os.path.realpath(path))
