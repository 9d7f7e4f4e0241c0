"""The jobs in memory, and which of them is due next: a heap, so that ten thousand cost what one does.

Owns how a job is kept (`Kept`) and its order in time. Follows the disk: changed only by what a transaction has told, or
for a moment while a decision about a job is on its way (`take`)."""

from __future__ import annotations

import heapq
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import tzinfo
from functools import cached_property

import msgspec
from msgspec.structs import replace

from gateway.protocol.cron import At, Job, Owner
from gateway.schedules.job import offset_of, table_of
from gateway.schedules.schedule import BadSchedule, Timetable
from gateway.services.cron.misfire import Plan, Rules
from gateway.store.cron import JobRow

log = logging.getLogger("gateway.cron")


class Kept(msgspec.Struct, frozen=True):
    """A job as it is kept: what was asked for and how it goes, and what is to come. `declaration`: a digest of the
    wish a declared job was last made from."""

    job: Job
    plan: Plan
    revision: int = 1
    declaration: str | None = None


_decoder = msgspec.json.Decoder(Kept)


def row_of(kept: Kept, version: int) -> JobRow:
    """The row of a job."""
    key = None if kept.job.declaration_key is None else declared_as(kept.job.owner, kept.job.declaration_key)
    return JobRow(kept.job.id, version, key, msgspec.json.encode(kept).decode())


def declared_as(owner: Owner | None, key: str) -> str:
    """A declaration key among all there are: agents, and operators together, name their jobs as they like. (An agent's
    id holds no slash.)"""
    return f"{(owner.agent_id if owner is not None else None) or ''}/{key}"


def kept_of(row: JobRow) -> Kept:
    """The job of a row. Raises msgspec.DecodeError."""
    return _decoder.decode(row.record)


def looked_at(row: JobRow) -> tuple[JobRow, Kept | msgspec.DecodeError]:
    """A row, and its job or what is wrong with it."""
    try:
        return row, kept_of(row)
    except msgspec.DecodeError as error:
        return row, error


@dataclass(eq=False)
class Entry:
    """A job in memory. `zone_of` knows time zones."""

    kept: Kept
    version: int
    offset: int
    zone_of: Callable[[str | None], tzinfo]
    trouble: str = ""

    @cached_property
    def table(self) -> Timetable | None:
        """Its slots; None when its time zone cannot be read (`trouble`). Found when first asked for: a start with ten
        thousand jobs shall not wait for all of them."""
        try:
            return table_of(self.job.schedule, self.job.created_at_ms, self.zone_of)
        except BadSchedule as bad:
            self.trouble = str(bad)
            return None

    @property
    def job(self) -> Job:
        return self.kept.job

    @property
    def plan(self) -> Plan:
        return self.kept.plan

    @property
    def due(self) -> int | None:
        """When it wants attention."""
        return self.plan.due(self.offset) if self.job.enabled else None


class Book:
    """Every job there is. `zone_of` knows time zones."""

    def __init__(self, zone_of: Callable[[str | None], tzinfo]) -> None:
        self._zone_of = zone_of
        self._entries: dict[str, Entry] = {}
        self._declared: dict[str, str] = {}
        self._heap: list[tuple[int, str, int]] = []
        self._running: defaultdict[str, set[str]] = defaultdict(set)
        self.changes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, job_id: str) -> Entry | None:
        return self._entries.get(job_id)

    def declared(self, owner: Owner | None, key: str) -> Entry | None:
        """The job of that maker with this declaration key."""
        return self._entries.get(self._declared.get(declared_as(owner, key), ""))

    def put(self, kept: Kept, version: int) -> Entry:
        """A new job, or one as it is now; its place in time is found anew."""
        job = kept.job
        if (before := self._entries.get(job.id)) is not None:
            self._undeclare(before.job)
        entry = Entry(kept, version, offset_of(job), self._zone_of)
        self._entries[job.id] = entry
        if job.declaration_key:
            self._declared[declared_as(job.owner, job.declaration_key)] = job.id
        self.changes += 1
        self.push(entry)
        return entry

    def remove(self, job_id: str) -> Entry | None:
        """Forget a job."""
        entry = self._entries.pop(job_id, None)
        if entry is not None:
            self._undeclare(entry.job)
        self.changes += 1
        return entry

    def _undeclare(self, job: Job) -> None:
        if job.declaration_key:
            self._declared.pop(declared_as(job.owner, job.declaration_key), None)

    # --- time ---------------------------------------------------------------------------------------------------------

    def push(self, entry: Entry, at: int | None = None) -> None:
        """Have a job looked at when it is due, or at `at`."""
        due = entry.due if at is None else at
        if due is not None:
            heapq.heappush(self._heap, (due, entry.job.id, entry.version))
        if len(self._heap) > 4 * len(self._entries) + 64:  # of jobs that changed often, only the last one counts
            self._heap = [one for one in self._heap if self._is_current(one)]
            heapq.heapify(self._heap)

    def take(self, now: int) -> Entry | None:
        """The next job that is due, which is not found again before it is put or pushed; None when there is none."""
        while self._heap and self._heap[0][0] <= now:
            found = heapq.heappop(self._heap)
            if self._is_current(found):
                return self._entries[found[1]]
        return None

    def next_due(self) -> int | None:
        """When the next job is due."""
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _is_current(self, one: tuple[int, str, int]) -> bool:
        entry = self._entries.get(one[1])
        return entry is not None and entry.version == one[2]

    # --- runs that go on ----------------------------------------------------------------------------------------------

    def begin(self, job_id: str, run_id: str) -> None:
        """A run of a job goes on."""
        self._running[job_id].add(run_id)

    def end(self, job_id: str, run_id: str) -> None:
        """It has ended."""
        runs = self._running.get(job_id)
        if runs is not None:
            runs.discard(run_id)
            if not runs:
                del self._running[job_id]

    def runs_of(self, job_id: str) -> frozenset[str]:
        """The runs of a job that go on."""
        return frozenset(self._running.get(job_id, ()))

    def running(self, job_id: str) -> int:
        """How many runs of a job go on."""
        return len(self._running.get(job_id, ()))


def rules_of(entry: Entry, *, skip_missed: bool) -> Rules:
    """How a job wants its slots to be dealt with."""
    job = entry.job
    misfire = job.misfire or ("skip" if skip_missed else "run-once")
    return Rules(misfire, job.misfire_cap, job.overlap, isinstance(job.schedule, At), entry.offset)


def told(kept: Kept, offset: int) -> Kept:
    """The same with what follows from the rest: when the job runs next, and the name of this state of its
    configuration."""
    job = kept.job
    next_run = kept.plan.due(offset) if job.enabled else None
    state = replace(job.state, next_run_at_ms=next_run)
    return replace(kept, job=replace(job, state=state, config_revision=str(kept.revision)))
