"""The SQLite file: one writing thread with group commit, short readers.

Owns what becomes of a job. The event loop never writes, and reads only what an index finds at once."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import trio

from gateway.protocol.errors import Refusal
from gateway.store import backup
from gateway.store.examine import check, log_of
from gateway.store.faults import Damaged, EpochLost, is_damage, refusal_of, room
from gateway.store.filemark import FileMark
from gateway.store.opening import connect, open_patiently
from gateway.store.writer import Batch, Entry, Step, Writer

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

SLOW_READERS = 2

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_database(
    path: Path, *, thorough: bool = False, waiting: Callable[[str], None] | None = None
) -> AsyncIterator[Database]:
    """The database at `path`, created and migrated as needed. Leaving the block finishes queued writes and checkpoints.

    `waiting` hears once a second what is being done when that takes long, and why the disk does not let the database be
    opened, which is waited for; without `waiting`, that raises Unwilling. Raises Damaged when the file is not whole,
    SchemaTooNew when a newer build wrote it. `thorough`: read all of it after an unclean end."""
    connection, epoch = await open_patiently(path, thorough=thorough, waiting=waiting)
    database = Database(path, connection, epoch)
    try:
        yield database
    finally:
        database.closing = True
        database.hand_over()  # here: only the loop may
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(database.close)


class Database:
    """One writing connection in one thread with group commit; short reads on a connection in the loop.

    `trouble` says why the disk does not take writes, until it does again; those in `on_trouble` hear of each change.
    `broken` is set, and the process must end, when memory and disk may disagree (EpochLost, a `then` that raised) or
    SQLite says that the file is damaged."""

    def __init__(self, path: Path, connection: sqlite3.Connection, epoch: int) -> None:
        self.path = path
        self.epoch = epoch
        self.broken = trio.Event()
        self.fault: BaseException | None = None
        self.trouble: Refusal | None = None
        self.on_trouble: tuple[Callable[[Refusal | None], None], ...] = ()
        self.commits = 0
        self.closing = False
        self.backup: backup.Progress | None = None
        self._reader = connect(path, read_only=True)
        self._slow = trio.CapacityLimiter(SLOW_READERS)
        self._copying = trio.Lock()
        self._gathered: list[Entry] = []
        self._token = trio.lowlevel.current_trio_token()

        def deliver(batch: Batch) -> None:
            with contextlib.suppress(trio.RunFinishedError):  # the loop ended first: nobody is left to be told
                self._token.run_sync_soon(self._settle, batch)

        self._mark = FileMark(path)
        self._writer = Writer(connection, self._mark, path, epoch, deliver, "pg-database")

    async def write(self, job: Job[T], *, then: Callable[[T], None] | None = None) -> T:
        """Run `job(connection)` in a savepoint of the next transaction; returns its result once it is durable.

        `then(result)` runs in the loop, in commit order and before anybody hears, even if the caller was cancelled:
        memory kept there never disagrees with the disk. Raises what `job` raised, Refusal (disk full, …), or
        EpochLost."""
        return cast(T, await self._wait_for(Entry(job, then=then)))

    async def write_together(self, step: Step, item: Any, *, then: Callable[[Any], None] | None = None) -> Any:
        """Like `write`, for what many do at once: items of one step that wait together are handed to it together,
        `step(connection, items)`, in order. It returns the result of each, or the exception to be raised here."""
        return await self._wait_for(Entry(item, step=step, then=then))

    async def _wait_for(self, entry: Entry) -> Any:
        done = trio.Event()
        entry.settle = done.set
        self.put(entry)
        await done.wait()
        if entry.error is not None:
            raise entry.error
        return entry.result

    def post(self, job: Job[T], *, then: Callable[[T], None] | None = None, lazy: bool = False) -> None:
        """Like `write`, without waiting; a failure is logged. `lazy`: may ride in another batch, at most 50 ms
        later."""
        self.put(Entry(job, lazy=lazy, then=then))

    def read(self, job: Job[T]) -> T:
        """A short read by index, in the loop. It sees everything whose `then` has run. Raises Refusal when the file
        cannot be read."""
        try:
            return job(self._reader)
        except sqlite3.Error as error:
            raise self._unread(error) from error

    async def read_slow(self, job: Job[T]) -> T:
        """A read that scans: in a thread, on a connection of its own. Raises as `read`."""
        try:
            return await trio.to_thread.run_sync(self._read_apart, job, limiter=self._slow)
        except sqlite3.Error as error:
            raise self._unread(error) from error

    async def copy(self, target: Path, *, force: bool = False) -> backup.Copied:
        """A backup as of now, complete and checked, at `target`; reads and writes go on. One at a time. Raises
        BackupFailed. Cancelled, it leaves nothing behind."""
        async with self._copying:
            self.backup = progress = backup.Progress()
            try:
                return await trio.to_thread.run_sync(self._copy, target, force, progress)
            finally:
                self.backup = None

    def _copy(self, target: Path, force: bool, progress: backup.Progress) -> backup.Copied:
        def step(copied: int, total: int) -> None:
            progress.copied, progress.total = copied, total
            trio.from_thread.check_cancelled()
            if opened is not None and self._mark.moved() is None:
                raise backup.BackupFailed(f"{self.path} was put back meanwhile, and is in use again; try again")

        # Of a file that was taken away, perhaps with no commit since, what this connection has open is all there is.
        opened = self._reader if self._mark.moved() is not None else None
        return backup.copy(self.path, target, force=force, step=step, opened=opened)

    async def check(self) -> list[str]:
        """Read every page; what is wrong, or nothing. In a thread."""
        return await self.read_slow(check)

    def facts(self) -> dict[str, Any]:
        """For `health`: where it is, how much room there is, what is wrong with it."""
        told: dict[str, Any] = {"path": str(self.path), "commits": self.commits, "freeBytes": room(self.path.parent)}
        with contextlib.suppress(OSError):
            told |= {"bytes": self.path.stat().st_size, "logBytes": log_of(self.path).stat().st_size}
        if self.trouble is not None:
            told["trouble"] = self.trouble.shape.message
        if self.backup is not None:
            told["backup"] = {"copied": self.backup.copied, "total": self.backup.total}
        return told

    def put(self, entry: Entry) -> None:
        """An entry of whose `settle` the caller takes care; what that does must not raise."""
        if not self._gathered:  # woken for each one, the writer would fight the loop for Python's lock
            self._token.run_sync_soon(self.hand_over)
        self._gathered.append(entry)

    def hand_over(self) -> None:
        """Give the writer what this turn of the loop brought, all at once."""
        gathered, self._gathered = self._gathered, []
        self._writer.put(gathered)

    def close(self) -> None:
        """Finish queued writes, checkpoint, close. Blocks; `open_database` calls it in a thread."""
        self._reader.close()  # before the last checkpoint, which waits for readers
        self._writer.stop()

    def _read_apart(self, job: Job[T]) -> T:
        if (moved := self._mark.moved()) is not None:  # what may lie there is somebody else's
            raise moved
        with contextlib.closing(connect(self.path, read_only=True)) as connection:
            return job(connection)

    def _unread(self, error: sqlite3.Error) -> Exception:
        if is_damage(error):
            self._break(Damaged(self.path, str(error)))
        return refusal_of(error, self.path, what="nothing could be read") or error

    def _settle(self, batch: Batch) -> None:
        """In the loop: bring memory up to the disk first, then wake whoever waits."""
        self.commits += 1
        self._note(batch.trouble)
        for entry in batch.entries:
            if entry.error is None and entry.then is not None and not self.closing:  # else nobody's memory is left
                try:
                    entry.then(entry.result)
                except Exception as error:
                    log.exception("memory could not follow the disk")
                    self._break(error)
            elif isinstance(entry.error, EpochLost):
                self._break(entry.error)
            elif entry.error is not None and entry.settle is None and batch.trouble is None:
                log.error("a write that nobody waits for failed: %s", entry.error)
        for entry in batch.entries:
            if entry.settle is not None:
                entry.settle()

    def _note(self, trouble: Refusal | None) -> None:
        """Tell once that the disk refuses, and once that it takes writes again."""
        before, self.trouble = self.trouble, trouble
        if trouble is not None and (trouble.shape.details or {}).get("cause") == "damaged":
            self._break(Damaged(self.path, trouble.shape.message))
        if trouble is not None and before is None:
            log.error("%s; new work is refused, reads go on", trouble.shape.message)
        elif trouble is None and before is not None:
            log.warning("the database takes writes again")
        for told in self.on_trouble if (trouble is None) != (before is None) and not self.closing else ():
            told(trouble)

    def _break(self, error: BaseException) -> None:
        self.fault = self.fault or error
        self.broken.set()
