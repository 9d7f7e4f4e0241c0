"""How the SQLite file is opened: its settings, the epoch that fences every gateway before, and patience with a disk.

Owns what a connection of ours is. A file is looked through before anything is written to it (examine)."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

import trio

from gateway.store.examine import APPLICATION_ID, look
from gateway.store.faults import Damaged, Unwilling, is_damage, refusal_of
from gateway.store.migrate import migrate, migrations

BUSY_MS = 5000
"""How long a statement waits for a foreign lock (a backup program, a shell); nobody of ours ever holds one long."""
LOG_PAGES = 1000
"""The write-ahead log is moved into the database by the commit that makes it this long (4 MB)."""
LOG_BYTES = 16 * 1024 * 1024
"""What a reader that held it up may leave of the log: it is cut to this when it begins anew."""
OPEN_AGAIN_SECONDS = 1.0

log = logging.getLogger(__name__)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection with our settings: write-ahead log, every commit on disk before it returns, explicit
    transactions."""
    # An address, for by its path alone a file that is not there would be made by whoever only reads.
    address = f"{path.absolute().as_uri()}?mode={'rw' if read_only else 'rwc'}"
    connection = sqlite3.connect(
        address, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    if read_only:
        connection.execute("PRAGMA query_only = 1")
    else:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")  # pages a savepoint sets aside, else in a file of their own
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    return connection


def open_writing(
    path: Path, *, thorough: bool = False, tell: Callable[[str], None] = lambda what: None
) -> tuple[sqlite3.Connection, int]:
    """The writing connection, migrated, and the epoch it has just raised, which fences every gateway before it.

    Raises Damaged, SchemaTooNew; sqlite3.Error when the disk is not willing. `thorough` as in `examine.look`; `tell`
    hears what is done now."""
    newest = len(migrations())
    tell("the database is looked through" if thorough else "the database is opened")
    found = look(path, newest, thorough=thorough)
    if found.schema < newest:
        tell(f"the database is brought from schema {found.schema} to {newest}")
    if not path.exists():
        path.touch(mode=0o600)  # SQLite would let the umask decide
    connection = connect(path)
    try:
        migrate(connection)
        if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")  # made before there was one
        (epoch,) = connection.execute("UPDATE meta SET epoch = epoch + 1 RETURNING epoch").fetchone()
    except BaseException as error:
        connection.close()
        if is_damage(error):
            raise Damaged(path, str(error)) from error
        raise
    return connection, epoch


async def _open_and_tell(
    path: Path, *, thorough: bool, waiting: Callable[[str], None] | None
) -> tuple[sqlite3.Connection, int]:
    """`open_writing` in a thread. When it takes long, as with a large file, `waiting` hears once a second what it
    does."""
    stage = "the database is opened"
    outcome: tuple[sqlite3.Connection, int] | Exception | None = None

    def tell(what: str) -> None:
        nonlocal stage
        stage = what

    async def tell_again_and_again(waiting: Callable[[str], None]) -> None:
        while True:
            await trio.sleep(OPEN_AGAIN_SECONDS)
            waiting(stage)

    with trio.CancelScope(shield=True):  # the thread cannot be stopped, and what it opened must not be lost
        async with trio.open_nursery() as telling:
            if waiting is not None:
                telling.start_soon(tell_again_and_again, waiting)
            try:
                outcome = await trio.to_thread.run_sync(lambda: open_writing(path, thorough=thorough, tell=tell))
            except Exception as error:  # raised again below, without the group a nursery would put around it
                outcome = error
            telling.cancel_scope.cancel()
    assert outcome is not None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def open_patiently(
    path: Path, *, thorough: bool, waiting: Callable[[str], None] | None
) -> tuple[sqlite3.Connection, int]:
    """`open_writing`, tried again while the disk is not willing."""
    told = False
    while True:
        try:
            return await _open_and_tell(path, thorough=thorough, waiting=waiting)
        except (sqlite3.Error, OSError) as error:
            refusal = refusal_of(error, path, what="the database cannot be opened")
            if refusal is None:
                raise
            if waiting is None:
                raise Unwilling(refusal.shape.message) from error
            if not told:
                log.error("%s; tried again every second", refusal.shape.message)
            told = True
            waiting(refusal.shape.message)
        await trio.sleep(OPEN_AGAIN_SECONDS)
