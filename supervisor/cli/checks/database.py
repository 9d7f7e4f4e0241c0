"""Checks of the database: is every page as it should be. Asked of the running gateway, else of the file itself."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from supervisor.cli.asking import ask
from supervisor.cli.checks.base import FAIL, OK, WARN, Check
from supervisor.cli.errors import CliError, NotRunning
from supervisor.cli.invocation import Invocation

CHECK_SECONDS = 120.0
WAL_RESET = ((3, 7, 0), (3, 51, 3))
"""SQLite versions from the first to before the second can damage a database that two connections write or checkpoint
at once (fixed in 3.51.3)."""


def checks(run: Invocation) -> Iterator[Check]:
    """All of them."""
    path = Path(run.state_dir) / "peergate.db"
    try:
        told = ask(run.doors, "database.check", timeout=CHECK_SECONDS, patience=0)
    except NotRunning:
        yield _file(path)
    except CliError as error:
        yield Check("database", WARN, error.message, error.fix or "run this as root or as the uid that runs peergate")
    else:
        path = Path(str(told.get("path")))
        yield _verdict(path, [str(one) for one in told.get("findings") or ()])
    yield from _interrupted(path)
    yield _version()


def _file(path: Path) -> Check:
    from gateway.store import examine
    from gateway.store.faults import Unusable
    from gateway.store.migrate import migrations

    if not os.path.lexists(path):
        return Check("database", OK, f"{path} will be made when the system starts")
    try:
        examine.look(path, len(migrations()))
        with contextlib.closing(examine.open_to_look(path)) as db:
            return _verdict(path, examine.check(db))
    except Unusable as error:
        found, _, fix = str(error).partition(". ")
        return Check("database", FAIL, found, fix)
    except (sqlite3.Error, OSError) as error:
        return Check("database", WARN, f"{path}: {error}", "run this as root or as the uid that runs peergate")


def _verdict(path: Path, findings: list[str]) -> Check:
    from gateway.store.faults import repair

    if findings:
        return Check("database", FAIL, f"{path} is damaged: {'; '.join(findings)}", repair(path))
    return Check("database", OK, f"{path} is whole")


def _interrupted(path: Path) -> Iterator[Check]:
    left = path.with_name(f"{path.name}.restoring")
    if os.path.lexists(left):
        yield Check("restore", FAIL, f"{left} is there: a restore was interrupted", "run peergate restore FILE again")


def _version() -> Check:
    version = sqlite3.sqlite_version
    if WAL_RESET[0] <= sqlite3.sqlite_version_info < WAL_RESET[1]:
        found = f"{version} has the WAL-reset bug (fixed in 3.51.3): it needs two connections that write, we have one"
        fix = "never write to peergate.db with another program while the system runs"
        return Check("sqlite log", OK, found, fix)
    return Check("sqlite log", OK, f"{version} is past the WAL-reset bug")
