"""A restore that is killed, at whichever of its steps, and run again: what it replaces is kept whole, once."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.store.backup import BackupFailed, copy
from gateway.store.faults import Damaged
from gateway.store.opening import connect, open_writing
from gateway.store.restore import restore
from gateway.store.salvage import salvage

NOTE = "INSERT INTO refusals (at, code, door, peer, reason) VALUES (1, 'x', 'y', 'z', ?)"
RESTORE = """
import os, signal, sys
from pathlib import Path
from gateway.store.restore import restore

left = int(sys.argv[3])

def step(event, arguments):
    global left
    if event in ("os.link", "os.rename", "os.remove"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
restore(Path(sys.argv[1]), Path(sys.argv[2]), "first")
"""
MOST_STEPS = 40


def rows(path: Path) -> int:
    with contextlib.closing(connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM refusals").fetchone()[0])


def system_that_was_killed(directory: Path) -> tuple[Path, Path]:
    """A database with two rows, of which one is in its log only, and a backup with none."""
    directory.mkdir()
    live, path, backup = directory / "live.db", directory / "peergate.db", directory / "backup.db"
    open_writing(live)[0].close()
    copy(live, backup)
    db = connect(live)
    db.execute(NOTE, ("moved from the log",))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute(NOTE, ("in the log",))
    for end in ("", "-wal"):
        shutil.copy(f"{live}{end}", f"{path}{end}")
    db.close()
    return backup, path


def test_a_restore_killed_at_each_of_its_steps_keeps_the_old_database_with_its_log(tmp_path: Path):
    for steps in range(MOST_STEPS):
        directory = tmp_path / str(steps)
        backup, path = system_that_was_killed(directory)
        ended = subprocess.run([sys.executable, "-c", RESTORE, backup, path, str(steps)], check=False)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
        if (directory / "peergate.db.restoring").exists():
            with pytest.raises(Damaged, match="a restore was interrupted"):
                open_writing(path)
            with pytest.raises(BackupFailed, match="a restore was interrupted"):
                copy(path, directory / "copy.db")
            with pytest.raises(BackupFailed, match="a restore was interrupted"):
                salvage(path, directory / "saved.db")
        done = restore(backup, path, "second")
        assert rows(path) == 0
        kept = [name for name in directory.glob("*before-restore-*") if not name.name.endswith(("-wal", "-shm"))]
        assert [rows(name) for name in kept] == [2] * len(kept), f"killed before step {steps}"
        assert done.kept in [str(name) for name in kept]
    else:
        pytest.fail("it has no end")
    assert steps > 5
