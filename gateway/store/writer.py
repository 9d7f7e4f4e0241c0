"""The thread that writes: takes jobs from a queue, runs many in one transaction, commits once.

Owns the writing connection. Knows nothing of Trio: results go to the `deliver` function it was given, batch by batch,
in commit order. A disk that does not take a batch is tried again by a transaction that changes nothing, so that its
recovery is noticed while nobody writes."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from gateway.protocol.errors import Refusal
from gateway.store.faults import EpochLost, refusal_of, told_by_the_system
from gateway.store.filemark import FileMark
from supervisor.crashpoints import crashpoint

MAX_BATCH = 256
"""A transaction takes no more jobs when it has so many: enough to amortise the flush (28 times measured), few enough
that nobody waits long."""
LAZY_SECONDS = 0.05
"""How long a batch of nothing but lazy jobs may wait for company."""
IDLE_SECONDS = 1.0
"""Without a job for so long: move the log into the database, or see whether a disk that refused takes writes again."""

log = logging.getLogger(__name__)


Step = Callable[[sqlite3.Connection, list[Any]], list[Any]]
"""Does one thing for many items; returns for each its result, or the exception that says why nothing of it was done."""


class Entry(msgspec.Struct, eq=False):
    """One job and what became of it. `lazy`: its loss in a crash would be acceptable, so it need not cause a flush of
    its own. With a `step`, the job is an item for it: neighbours of one step are done together."""

    job: Any
    lazy: bool = False
    step: Step | None = None
    then: Callable[[Any], None] | None = None
    settle: Callable[[], None] | None = None
    result: Any = None
    error: Exception | None = None


class Batch(msgspec.Struct):
    """Entries that were committed together, or refused together: then `trouble` says why, and all have that error."""

    entries: list[Entry] = msgspec.field(default_factory=list)
    trouble: Refusal | None = None


class Writer:
    """Runs entries on `connection` until `stop`. Each batch checks that `epoch` is still the database's, else every
    entry fails with EpochLost. `path` is told in refusals; what `mark` says of the files ends a
    batch."""

    def __init__(
        self, connection: sqlite3.Connection, mark: FileMark, path: Path, epoch: int,
        deliver: Callable[[Batch], None], name: str,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._path = path
        self._epoch = epoch
        self._mark = mark
        self._deliver = deliver
        self._trouble = False
        self._log_filled = True
        self._queue: queue.SimpleQueue[list[Entry] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, entries: Sequence[Entry]) -> None:
        """Queue jobs, which are then done in one transaction, MAX_BATCH at a time; never waits. The queue is bounded by
        its users: each awaits its job, or is one of a bounded number of runs."""
        for start in range(0, len(entries), MAX_BATCH):
            self._queue.put([*entries[start : start + MAX_BATCH]])

    def stop(self) -> None:
        """Do what is queued, checkpoint, close the connection and end; returns when that is done."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            entries, stopping = self._collect()
            if entries:
                self._carry_out(entries)
            elif not stopping:
                self._rest()
        try:
            self._connection.execute("PRAGMA optimize")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.warning("the last checkpoint failed; the next start does it again: %s", error)
        self._connection.close()

    def _collect(self) -> tuple[list[Entry], bool]:
        """Whatever is queued now; a batch of lazy jobs alone waits a little for others. Empty after IDLE_SECONDS with
        something to do meanwhile."""
        entries: list[Entry] = []
        deadline: float | None = None
        while len(entries) < MAX_BATCH:
            try:
                more = self._queue.get(timeout=self._patience(entries, deadline))
            except queue.Empty:
                break
            if more is None:
                return entries, True
            entries += more
            deadline = deadline or time.monotonic() + LAZY_SECONDS
        return entries, False

    def _patience(self, entries: list[Entry], deadline: float | None) -> float | None:
        """Seconds to wait for another entry: with none, until there is something else to do; a moment when all are
        lazy; else not at all."""
        if not entries:
            return IDLE_SECONDS if self._trouble or self._log_filled else None
        if deadline is None or not all(entry.lazy for entry in entries):
            return 0.0
        return max(0.0, deadline - time.monotonic())

    def _carry_out(self, entries: list[Entry]) -> None:
        batch = Batch(entries, self._do(entries))
        self._trouble, self._log_filled = batch.trouble is not None, True
        self._deliver(batch)

    def _rest(self) -> None:
        """Nobody writes: what there is to do then."""
        if self._trouble:
            # A page may fit where a message does not: SQLite alone would call the disk well, and ill again at once.
            if told_by_the_system(self._path.parent) is None:
                self._carry_out([Entry(_touch)])
            return
        self._log_filled = False
        try:
            # Passive: waits for nobody. A reader in the middle leaves the rest to the next time.
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            log.warning("the log could not be moved into the database; it is tried again: %s", error)

    def _do(self, entries: list[Entry]) -> Refusal | None:
        """One transaction. Why the disk did not take it, or None."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("SELECT epoch FROM meta").fetchone() != (self._epoch,):
                raise EpochLost(f"a newer gateway has opened the database; this one was epoch {self._epoch}")
            for step, found in groupby(entries, attrgetter("step")):
                if step is None:
                    for entry in found:
                        self._do_one(entry, entry.job)
                else:
                    self._do_together(step, [*found])
            if (moved := self._mark.moved()) is not None:
                raise moved
            crashpoint("gateway.commit.before")
            connection.execute("COMMIT")
            crashpoint("gateway.commit.after")
        except (sqlite3.Error, EpochLost, Refusal) as error:  # a job's own Refusal does not come as far as this
            # Nothing of the batch is on disk, not even what seemed to succeed.
            if connection.in_transaction:
                connection.rollback()
            told = error if isinstance(error, Refusal) else None
            if isinstance(error, sqlite3.Error):
                told = refusal_of(error, self._path)
            for entry in entries:
                entry.result, entry.error = None, told or error
            return told
        return None

    def _do_together(self, step: Step, entries: list[Entry]) -> None:
        together = Entry(None)
        items = [entry.job for entry in entries]
        self._do_one(together, lambda db: [*zip(entries, step(db, items), strict=True)])
        if together.error is None:
            for entry, result in together.result:
                if isinstance(result, Exception):
                    entry.error = result
                else:
                    entry.result = result
        elif len(entries) == 1:
            entries[0].error = together.error
        else:  # one of them is at fault, and nobody else shall suffer
            for entry in entries:
                self._do_together(step, [entry])

    def _do_one(self, entry: Entry, job: Callable[[sqlite3.Connection], Any]) -> None:
        """Run a job so that all of it is done or nothing. Raises when the whole batch has failed."""
        connection = self._connection
        connection.execute("SAVEPOINT job")
        try:
            entry.result = job(connection)
        except sqlite3.Error as error:
            # A full disk ends the whole transaction, not only the savepoint: then the batch fails as one.
            if refusal_of(error) is not None or not connection.in_transaction:
                raise
            entry.error = error
        except Exception as error:
            entry.error = error
        if entry.error is not None:
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")


def _touch(db: sqlite3.Connection) -> None:
    """A write that changes nothing: SQLite logs the page all the same."""
    db.execute("UPDATE meta SET epoch = epoch")
