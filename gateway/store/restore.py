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
    `….before-restore-<stamp>`, or by the name an interrupted restore has given it.

    Raises RestoreFailed, BackupFailed, Damaged, SchemaTooNew and sqlite3.Error about `source`. From the first rename
    to the last a file `….restoring` exists, and no gateway starts: run it again."""
    if not source.is_file():
        raise RestoreFailed(f"{source} is no file")
    if path.exists() and source.samefile(path):
        raise RestoreFailed(f"{source} is the database itself")
    if look(source, len(migrations())).schema == 0:
        raise RestoreFailed(f"{source} is empty: there is nothing to restore")
    fresh = path.with_name(f"{path.name}.before-restore-{stamp}")
    if fresh.exists() or log_of(fresh).exists():
        raise RestoreFailed(f"{fresh} exists already; try again in a second")
    ready = restoring(path)
    made = copy(source, ready, force=True)
    _own(ready, path.parent)
    kept = _keep(path, fresh)
    log_of(path).with_name(f"{path.name}-shm").unlink(missing_ok=True)
    ready.replace(path)
    sync(path.parent)
    return Restored(str(path), made.schema, made.bytes, kept)


def _keep(path: Path, fresh: Path) -> str | None:
    """Give the old database a second name and move its log there. It has both until the new one takes its place, so a
    restore that is run again finds under which name the one before was keeping it, and does not part it from its
    log."""
    there = path.exists()
    names = path.parent.glob(f"{path.name}.before-restore-*") if there else ()
    kept = next((name for name in names if name.samefile(path)), fresh)
    if there and kept == fresh:
        try:
            os.link(path, kept)
        except OSError:  # where files have one name only, it is that one
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
