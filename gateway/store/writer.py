"""The thread that writes: takes jobs from a queue, runs many in one transaction, commits once.

Owns the writing connection. Knows nothing of Trio: results go to the `deliver` function it was given, batch by batch,
in commit order."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.store.faults import EpochLost, refusal_of
from supervisor.crashpoints import crashpoint

MAX_BATCH = 256
"""Jobs in one transaction: enough to amortise the flush (28 times measured), few enough that nobody waits long."""
LAZY_SECONDS = 0.05
"""How long a batch of nothing but lazy jobs may wait for company."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Entry:
    """One job and what became of it. `lazy`: its loss in a crash would be acceptable, so it need not cause a flush of
    its own."""

    job: Callable[[sqlite3.Connection], Any]
    lazy: bool = False
    then: Callable[[Any], None] | None = None
    settle: Callable[[], None] | None = None
    result: Any = None
    error: BaseException | None = None


class Writer:
    """Runs entries on `connection` until `stop`. Each batch checks that `epoch` is still the database's, else every
    entry fails with EpochLost."""

    def __init__(
        self, connection: sqlite3.Connection, epoch: int, deliver: Callable[[list[Entry]], None], name: str
    ) -> None:
        self._connection = connection
        self._epoch = epoch
        self._deliver = deliver
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queue a job; never waits. The queue is bounded by its users: each awaits its job, or is one of a bounded
        number of runs."""
        self._queue.put(entry)

    def stop(self) -> None:
        """Do what is queued, checkpoint, close the connection and end; returns when that is done."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch, stopping = self._collect()
            if batch:
                self._do(batch)
                self._deliver(batch)
        try:
            self._connection.execute("PRAGMA optimize")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.warning("the last checkpoint failed; the next start does it again: %s", error)
        self._connection.close()

    def _collect(self) -> tuple[list[Entry], bool]:
        """Whatever is queued now; a batch of lazy jobs alone waits a little for others."""
        batch: list[Entry] = []
        deadline: float | None = None
        while len(batch) < MAX_BATCH:
            try:
                entry = self._queue.get(timeout=_left(batch, deadline))
            except queue.Empty:
                break
            if entry is None:
                return batch, True
            batch.append(entry)
            deadline = deadline or time.monotonic() + LAZY_SECONDS
        return batch, False

    def _do(self, batch: list[Entry]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("SELECT epoch FROM meta").fetchone() != (self._epoch,):
                raise EpochLost(f"a newer gateway has opened the database; this one was epoch {self._epoch}")
            for entry in batch:
                self._do_one(entry)
            crashpoint("gateway.commit.before")
            connection.execute("COMMIT")
            crashpoint("gateway.commit.after")
        except (sqlite3.Error, EpochLost) as error:
            # Nothing of the batch is on disk, not even what seemed to succeed.
            if connection.in_transaction:
                connection.rollback()
            told = refusal_of(error) if isinstance(error, sqlite3.Error) else None
            for entry in batch:
                entry.result, entry.error = None, told or error

    def _do_one(self, entry: Entry) -> None:
        connection = self._connection
        connection.execute("SAVEPOINT job")
        try:
            entry.result = entry.job(connection)
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


def _left(batch: list[Entry], deadline: float | None) -> float | None:
    """Seconds to wait for another entry: for ever when there is none, a moment when all are lazy, else not at all."""
    if not batch:
        return None
    if deadline is None or not all(entry.lazy for entry in batch):
        return 0.0
    return max(0.0, deadline - time.monotonic())
