"""The SQLite file: one writing thread with group commit, short readers.

Owns opening, closing and the epoch. The event loop never writes, and reads only what an index finds at once."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio

from gateway.store.faults import EpochLost, refusal_of
from gateway.store.migrate import migrate
from gateway.store.writer import Entry, Writer

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

BUSY_MS = 5000
"""How long a statement waits for a foreign lock (a backup program, a shell); nobody of ours ever holds one long."""
SLOW_READERS = 2

log = logging.getLogger(__name__)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection with our settings: write-ahead log, every commit on disk before it returns, explicit
    transactions."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    if read_only:
        connection.execute("PRAGMA query_only = 1")
    else:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    return connection


def open_writing(path: Path) -> tuple[sqlite3.Connection, int]:
    """The writing connection, migrated, and the epoch it has just raised, which fences every gateway before it."""
    path.touch(mode=0o600, exist_ok=True)
    connection = connect(path)
    try:
        migrate(connection)
        (epoch,) = connection.execute("UPDATE meta SET epoch = epoch + 1 RETURNING epoch").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection, epoch


@asynccontextmanager
async def open_database(path: Path) -> AsyncIterator[Database]:
    """The database at `path`, created and migrated as needed. Leaving the block finishes queued writes and checkpoints.

    Raises Refusal when the file cannot be used, SchemaTooNew when a newer build wrote it."""
    try:
        connection, epoch = await trio.to_thread.run_sync(open_writing, path)
    except sqlite3.Error as error:
        raise refusal_of(error) or error from error
    database = Database(path, connection, epoch)
    try:
        yield database
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(database.close)


class Database:
    """One writing connection in one thread with group commit; short reads on a connection in the loop.

    After a write failed with EpochLost, or a `then` raised, `broken` is set: memory and disk may disagree, so the
    process must end."""

    def __init__(self, path: Path, connection: sqlite3.Connection, epoch: int) -> None:
        self.path = path
        self.epoch = epoch
        self.broken = trio.Event()
        self.fault: BaseException | None = None
        self.commits = 0
        self._reader = connect(path, read_only=True)
        self._slow = trio.CapacityLimiter(SLOW_READERS)
        token = trio.lowlevel.current_trio_token()

        def deliver(batch: list[Entry]) -> None:
            with contextlib.suppress(trio.RunFinishedError):  # the loop ended first: nobody is left to be told
                token.run_sync_soon(self._settle, batch)

        self._writer = Writer(connection, epoch, deliver, "pg-database")

    async def write(self, job: Job[T], *, then: Callable[[T], None] | None = None) -> T:
        """Run `job(connection)` in a savepoint of the next transaction; returns its result once it is durable.

        `then(result)` runs in the loop, in commit order and before anybody hears, even if the caller was cancelled:
        memory kept there never disagrees with the disk. Raises what `job` raised, Refusal (disk full, …), or
        EpochLost."""
        done = trio.Event()
        entry = Entry(job, then=then, settle=done.set)
        self._writer.put(entry)
        await done.wait()
        if entry.error is not None:
            raise entry.error
        result: T = entry.result
        return result

    def post(self, job: Job[T], *, then: Callable[[T], None] | None = None, lazy: bool = False) -> None:
        """Like `write`, without waiting; a failure is logged. `lazy`: may ride in another batch, at most 50 ms
        later."""
        self._writer.put(Entry(job, lazy=lazy, then=then))

    def read(self, job: Job[T]) -> T:
        """A short read by index, in the loop. It sees everything whose `then` has run."""
        return job(self._reader)

    async def read_slow(self, job: Job[T]) -> T:
        """A read that scans: in a thread, on a connection of its own."""
        return await trio.to_thread.run_sync(self._read_apart, job, limiter=self._slow)

    def close(self) -> None:
        """Finish queued writes, checkpoint, close. Blocks; `open_database` calls it in a thread."""
        self._reader.close()  # before the last checkpoint, which waits for readers
        self._writer.stop()

    def _read_apart(self, job: Job[T]) -> T:
        with contextlib.closing(connect(self.path, read_only=True)) as connection:
            return job(connection)

    def _settle(self, batch: list[Entry]) -> None:
        """In the loop: bring memory up to the disk first, then wake whoever waits."""
        self.commits += 1
        for entry in batch:
            if entry.error is None and entry.then is not None:
                try:
                    entry.then(entry.result)
                except Exception as error:
                    log.exception("memory could not follow the disk")
                    self._break(error)
            elif isinstance(entry.error, EpochLost):
                self._break(entry.error)
            elif entry.error is not None and entry.settle is None:
                log.error("a write that nobody waits for failed: %s", entry.error)
        for entry in batch:
            if entry.settle is not None:
                entry.settle()

    def _break(self, error: BaseException) -> None:
        self.fault = self.fault or error
        self.broken.set()


__all__ = ["BUSY_MS", "Database", "EpochLost", "Job", "connect", "open_database", "open_writing"]
