"""`peergate backup`, `restore` and `recover`: the database as one file, out of a system and into one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

import click

from supervisor.cli.asking import ask
from supervisor.cli.errors import CliError, ConnectionLost, NotRunning, Unanswered
from supervisor.cli.invocation import Invocation, command
from supervisor.cli.output import clean, size

DATABASE = "peergate.db"


@command(
    "backup",
    "peergate backup /var/backups/peergate-$(date +%F).db",
    "peergate backup --force latest.db && peergate restore latest.db",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE, an earlier copy.")
def backup(run: Invocation, file: Path, force: bool) -> None:
    """Copy the database to FILE, complete as of now and checked, while everything goes on. Without a running system
    the database in the state directory is copied.

    FILE holds every session and message, so it is made 0600. --json prints {path, bytes, schema, seconds}."""
    target = Path(os.path.abspath(file))
    try:
        made = ask(run.doors, "database.backup", {"path": str(target), "force": force}, timeout=None, patience=0)
    except (Unanswered, ConnectionLost):
        raise
    except NotRunning as error:
        made = _copy(Path(run.state_dir) / DATABASE, target, force, error)
    run.answer(made, lambda: f"{made['path']}: {size(made['bytes'])}, schema {made['schema']}, {made['seconds']:.2f} s")


def _copy(source: Path, target: Path, force: bool, absent: NotRunning) -> dict[str, Any]:
    from gateway.store.backup import BackupFailed, NoPlace, copy  # costs more than a short command may

    if not os.path.exists(source):
        raise NotRunning(f"{absent.message}, and there is no {source}", fix=absent.fix)
    try:
        made = copy(source, target, force=force)
    except NoPlace as error:
        raise CliError(clean(str(error))) from None
    except BackupFailed as error:
        raise CliError(clean(str(error)), fix="peergate doctor") from None
    return {"path": made.path, "bytes": made.bytes, "schema": made.schema, "seconds": made.seconds}


@command("restore", "peergate stop && peergate restore /var/backups/peergate-2026-11-21.db && peergate up")
@click.argument("file", type=click.Path(path_type=Path))
def restore(run: Invocation, file: Path) -> None:
    """Put the backup FILE in the place of the database. Only while nothing runs on the state directory; FILE is
    checked first, and the database that was there is kept beside it as peergate.db.before-restore-TIME.

    --json prints {path, schema, bytes, kept}."""
    source = Path(os.path.abspath(file))
    with held(run.state_dir):
        told = _restore(source, Path(run.state_dir) / DATABASE)
    run.answer(told, lambda: _restored_text(told))


def _restore(source: Path, path: Path) -> dict[str, Any]:
    import sqlite3

    from gateway.store.backup import BackupFailed, NoPlace
    from gateway.store.faults import Damaged, Unusable
    from gateway.store.restore import RestoreFailed, restore

    try:
        done = restore(source, path, time.strftime("%Y%m%d-%H%M%S"))
    except NoPlace as error:
        raise CliError(clean(f"{source} was not restored: {error}")) from None
    except (RestoreFailed, BackupFailed, Unusable, sqlite3.Error, OSError) as error:
        # The commands that mend a damaged database are about the one in the state directory, not about this file.
        why = error.found if isinstance(error, Damaged) else error
        raise CliError(clean(f"{source} was not restored: {why}"), fix="name another backup") from None
    return {"path": done.path, "schema": done.schema, "bytes": done.bytes, "kept": done.kept}


@command("recover", "peergate recover saved.db && peergate restore saved.db")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE, an earlier copy.")
def recover(run: Invocation, file: Path, force: bool) -> None:
    """Save what can be read of a damaged database to FILE, which `restore` then takes. Only while nothing runs; the
    damaged database is only read.

    --json prints {path, holes, rows{table: saved}}."""
    from gateway.store.backup import BackupFailed, NoPlace
    from gateway.store.salvage import salvage

    with held(run.state_dir):
        try:
            done = salvage(Path(run.state_dir) / DATABASE, Path(os.path.abspath(file)), force=force)
        except NoPlace as error:
            raise CliError(clean(str(error))) from None
        except BackupFailed as error:
            raise CliError(clean(str(error)), fix="peergate restore FILE, with a backup") from None
    rows = ", ".join(f"{count} {name}" for name, count in done.rows.items() if count)
    document = {"path": done.path, "holes": done.holes, "rows": done.rows}
    run.answer(document, lambda: f"{done.path}: {rows or 'no rows'}; {done.holes} holes were met")


def _restored_text(told: Mapping[str, Any]) -> str:
    kept = f"; what was there is kept as {told['kept']}" if told["kept"] else ""
    return f"{told['path']}: {size(told['bytes'])}, schema {told['schema']}{kept}"


@contextmanager
def held(state_dir: str) -> Iterator[None]:
    """The state directory, ours alone: the locks a supervisor holds for its life. Raises CliError."""
    from supervisor.lock import lock_all, open_state

    try:
        lock, directory = open_state(os.path.realpath(state_dir))
    except FileNotFoundError:
        told = f"there is no state directory {state_dir}"
        raise CliError(told, fix=f"name it with --state-dir, or make it: mkdir -m 700 {quote(state_dir)}") from None
    except PermissionError as error:
        raise CliError(f"{state_dir}: {error.strerror}", fix="run this as the uid that runs peergate") from None
    except OSError as error:
        raise CliError(f"{state_dir} cannot be used: {error.strerror}") from None
    try:
        owner = os.stat(state_dir)
        if os.geteuid() == 0:
            os.fchown(lock, owner.st_uid, owner.st_gid)
        if not lock_all(lock, directory):
            raise CliError(f"a system runs on {state_dir}; it must be stopped first", fix="peergate stop")
        yield
    finally:
        os.close(lock)
        os.close(directory)
