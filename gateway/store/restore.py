"""A backup put in the place of the database, while nothing runs. Owns the order that makes it safe to be interrupted.

Whoever calls it holds the lock of the state directory."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from gateway.store.backup import copy, sync
from gateway.store.examine import log_of, look, restoring
from gateway.store.migrate import migrations


class RestoreFailed(Exception):
    """Nothing was changed; the text says why."""


class Restored(msgspec.Struct, frozen=True):
    """`kept` is what the database is called now that was there before, None when there was none."""

    path: str
    schema: int
    bytes: int
    kept: str | None


def restore(source: Path, path: Path, stamp: str) -> Restored:
    """Check `source`, copy it beside the database `path`, and put it in its place; the old one is kept with its log as
    `….before-restore-<stamp>`.

    Raises RestoreFailed, BackupFailed, Damaged, SchemaTooNew and sqlite3.Error about `source`. From the first rename
    to the last a file `….restoring` exists, and no gateway starts: run it again."""
    if not source.is_file():
        raise RestoreFailed(f"{source} is no file")
    if path.exists() and source.samefile(path):
        raise RestoreFailed(f"{source} is the database itself")
    if look(source, len(migrations())).schema == 0:
        raise RestoreFailed(f"{source} is empty: there is nothing to restore")
    ready = restoring(path)
    made = copy(source, ready, force=True)
    _own(ready, path.parent)
    kept = _keep(path, stamp)
    log_of(path).with_name(f"{path.name}-shm").unlink(missing_ok=True)
    ready.replace(path)
    sync(path.parent)
    return Restored(str(path), made.schema, made.bytes, kept)


def _keep(path: Path, stamp: str) -> str | None:
    """Move the old database and its log aside, as a pair."""
    kept = path.with_name(f"{path.name}.before-restore-{stamp}")
    if kept.exists():
        raise RestoreFailed(f"{kept} exists already; try again in a second")
    there = path.exists()
    if there:
        path.replace(kept)
    if log_of(path).exists():
        log_of(path).replace(log_of(kept))
    sync(path.parent)
    return str(kept) if there else None


def _own(file: Path, directory: Path) -> None:
    """Run by root for a system that is not root's: the file must be that system's."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.chown(file, owner.st_uid, owner.st_gid)
