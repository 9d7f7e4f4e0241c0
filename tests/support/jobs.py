"""Cron in the test: services whose clock the test can step, jobs in few words, and a worker that answers every run.

The wall clock is the test's: it follows Trio's, and is put forward and back at will."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trio
import trio.testing

from gateway.protocol.calls.cron import CronList, CronRuns, JobPatch
from gateway.protocol.cron import Owner, RunEntry, Wish
from gateway.protocol.errors import Refusal
from gateway.services import open_services
from gateway.services.cron import Cron
from tests.support.engine import Box, Listener, TestSupervisor, Worker, settings_from

MOST_SECONDS = 86_400.0
UNNOTICED_SECONDS = 20.0
"""A step of time while a job is due and nobody has noticed, because it was the clock that was put forward."""
BEGIN_MS = 1_800_000_000_000
"""2027-01-15T08:00:00Z, when tests begin."""


@dataclass
class Clock:
    """Wall milliseconds: Trio's time, and how far the clock was put forward."""

    ahead: float = BEGIN_MS

    def __call__(self) -> float:
        return self.ahead + trio.current_time() * 1000

    def step(self, seconds: float) -> None:
        self.ahead += seconds * 1000


@dataclass
class JobBox(Box):
    """Services, and the clock. `replies` says what a run is answered, by its message; (status, text) or text."""

    clock: Clock = field(default_factory=Clock)
    answered: list[tuple[str, str]] = field(default_factory=list)

    @property
    def cron(self) -> Cron:
        return self.services.cron

    @property
    def now(self) -> int:
        return int(self.clock())

    async def add(self, who: Owner | None = None, **fields: Any) -> dict[str, Any]:
        """Make a job; a turn of the agent every minute unless said otherwise."""
        return await self.cron.add(wish(**fields), who)

    async def patch(self, job_id: str, who: Owner | None = None, **fields: Any) -> dict[str, Any]:
        return await self.cron.update(job_id, msgspec.convert(fields, JobPatch), who=who)

    async def log(self, job_id: str | None = None, **more: Any) -> list[RunEntry]:
        """The run log, oldest first."""
        wanted = CronRuns(id=job_id, limit=200, sort_dir="asc", **more)
        return list((await self.cron.entries(wanted)).entries)

    async def jobs(self, **wanted: Any) -> list[dict[str, Any]]:
        return (await self.cron.list(CronList(**{"enabled": "all", "limit": 200, **wanted}))).jobs

    async def calm(self) -> None:
        """Let everything that is under way come to rest, however many transactions follow from each other."""
        quiet = before = 0
        while quiet < 2:
            try:
                changes = await self.services.database.write(lambda db: db.total_changes)
            except Refusal:  # what the disk does not take takes along whatever is written with it
                changes = before + 2
            await trio.testing.wait_all_tasks_blocked()
            # A transaction of its own changes the epoch's row, and nothing else.
            quiet = quiet + 1 if changes - before <= 1 else 0
            before = changes

    async def pass_time(self, seconds: float) -> None:
        """Let time go by from one job to the next, and everything that follows come to rest. It stands still while
        the disk is written: a thread cannot be waited for by a clock that jumps by itself."""
        time = trio.lowlevel.current_clock()
        assert isinstance(time, trio.testing.MockClock), "the test itself must take mock_clock"
        end = trio.current_time() + seconds
        await self.calm()
        while (left := end - trio.current_time()) > 0:
            due = (await self.cron.status()).next_wake_at_ms
            ahead = left if due is None else (due - self.clock()) / 1000
            until_due = max(ahead, 0.001) if ahead > 0 else UNNOTICED_SECONDS
            time.jump(min(left, until_due, MOST_SECONDS))
            await self.calm()

    async def answer_all(
        self, reply: str | dict[str, Any] = "done", *, task_status: Any = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Be every worker there will be: each run is answered at once, and the worker leaves."""
        task_status.started()
        while True:
            born = [one for one in self.supervisor.born if one.spawn not in self.hired]
            if not born:  # looked at again after each round: more may be born while these are answered
                await self.supervisor.wait_for(len(self.supervisor.born) + 1)
            for one in born:
                worker = Worker(self, one)
                run = await worker.next()
                self.answered.append((run.run_id, run.message))
                said = reply if isinstance(reply, dict) else {"text": reply}
                await worker.finish(run, **said)
                worker.die(code=0)


def wish(**fields: Any) -> Wish:
    """A wish as it comes over the wire; what is not given is a turn every minute."""
    usual: dict[str, Any] = {
        "name": "job",
        "schedule": {"kind": "every", "everyMs": 60_000},
        "sessionTarget": "isolated",
    }
    usual["payload"] = {"kind": "agentTurn", "message": "do it"}
    return msgspec.convert({**usual, **fields}, Wish)


def on_full_disk(full: list[bool], write: Callable[..., None]) -> Callable[..., None]:
    """`write`, which the disk does not take as long as `full` holds True."""

    def written(*values: Any) -> None:
        if full[0]:
            trouble = sqlite3.OperationalError("database or disk is full")
            trouble.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise trouble
        write(*values)

    return written


@asynccontextmanager
async def open_jobs(
    state_dir: Path,
    *,
    clock: Clock | None = None,
    generation: int = 1,
    tree: dict[str, Any] | None = None,
) -> AsyncIterator[JobBox]:
    """A gateway's services with cron at work."""
    supervisor, listener, clock = TestSupervisor(), Listener(), clock or Clock()
    settings = settings_from(tree or {})
    async with open_services(settings, state_dir, supervisor, listener, [], generation, clock=clock) as services:
        await services.cron.ready()
        yield JobBox(services, supervisor, listener, clock=clock)
