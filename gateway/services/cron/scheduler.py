"""The clock of cron: finds what is due, has it obeyed, and follows runs to their end.

Owns the one loop. It never trusts a timer: it sleeps a minute at most, is woken when the clock is set, reads the wall
clock, and decides from slots alone, so a suspend, a clock that was stepped, and new rules of a time zone are all the
same to it: nothing loops, and nothing falls silent. What is due leaves the heap until the transaction about it has
ended."""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Callable

import msgspec
import trio
from msgspec.structs import replace

from gateway.protocol.errors import Refusal
from gateway.schedules.job import agent_of
from gateway.schedules.zones import Zones
from gateway.services.cron import steps
from gateway.services.cron.book import Book, Entry, Kept, looked_at, row_of, rules_of, told
from gateway.services.cron.misfire import Plan, decide
from gateway.services.cron.outcome import schedule_failed
from gateway.services.cron.overlap import Verdict
from gateway.services.cron.reckoning import reckoned
from gateway.services.cron.steps import Done, Firing
from gateway.services.cron.teller import FAULTS, Teller
from gateway.services.cron.watching import watch_clock, watch_zones
from gateway.services.engine import Engine
from gateway.services.ports import Publisher
from gateway.services.runs import Runs
from gateway.store import cron

log = logging.getLogger("gateway.cron")

MAX_SLEEP_SECONDS = 60.0
BATCH = 256
"""Jobs that are decided about before others get their turn, if that takes no longer than `BATCH_SECONDS`."""
BATCH_SECONDS = 0.01
AGAIN_MS = 1000
"""A job the disk did not take, or a system that is stopping, is looked at again after this."""
HELD_MS = 5000
"""A job that runs once and whose agent may not work is looked at again after this."""
BROKEN_MS = 60_000
STEPPED_BACK_MS = 1000.0
"""A clock that is behind by more than this was put back."""
STEP, LOAD_STEP = 50, 500
"""Jobs looked at, and taken over at the start, before others get their turn."""


class Scheduler:
    """Jobs, and the loop that obeys them. `loaded` is set when they have been read."""

    def __init__(self, engine: Engine, runs: Runs, hub: Publisher) -> None:
        self.zones = Zones()
        self.book = Book(self.zones.get)
        self.loaded = trio.Event()
        self.called = trio.Event()
        self._engine = engine
        self._database = engine.database
        self._runs = runs
        self.teller = Teller(engine, hub)
        self._changed = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._seen = (-math.inf, 0.0)
        self._jumps = 0

    def now(self) -> int:
        """Wall milliseconds, whole ones."""
        return int(self._engine.clock())

    def poke(self) -> None:
        """Look at what is due, now."""
        self._changed.set()

    def look_anew(self) -> None:
        """Have every job's next slot looked up, and go on."""
        if self._nursery is not None:
            self._nursery.start_soon(self.reckon)

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Read the jobs and obey them, for ever."""
        found, unfinished = await self._database.read_slow(
            lambda db: ([*map(looked_at, cron.load(db))], cron.open_runs(db))
        )
        for number, (row, kept) in enumerate(found):
            if number % LOAD_STEP == 0:
                await trio.lowlevel.checkpoint()
            if isinstance(kept, Kept):
                self.book.put(kept, row.version)
            else:
                self.teller.notice("error", "CRON_JOB_DAMAGED", f"the cron job {row.id} is damaged: {kept}")
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for run in unfinished:
                    self._begin(run.job, run.run)
                self.loaded.set()
                nursery.start_soon(watch_clock, self.poke)
                nursery.start_soon(watch_zones, self.zones, self._zones_changed)
                nursery.start_soon(self.reckon)
                await self._tick()
        finally:
            self._nursery = None  # a transaction that ends later is for the next gateway to follow

    async def _tick(self) -> None:
        while True:
            self._changed = trio.Event()
            now = self._look_at_clock()
            seconds, engine = MAX_SLEEP_SECONDS, self._engine
            if not engine.settings.cron.enabled or engine.draining is not None or self._database.trouble is not None:
                seconds = AGAIN_MS / 1000
            elif self._fire_due(now):
                seconds = 0
            elif (due := self.book.next_due()) is not None:
                seconds = min(max((due - engine.clock()) / 1000, 0), MAX_SLEEP_SECONDS)
            with trio.move_on_after(seconds):
                await self._changed.wait()
            await trio.lowlevel.checkpoint()

    def _look_at_clock(self) -> int:
        """The time. A clock that was put back has every job's next slot looked up anew: what lies ahead now is not
        what lay ahead then."""
        now, passed = self._engine.clock(), trio.current_time()
        before, then = self._seen
        self._seen = (now, passed)
        if now < before + (passed - then) * 1000 - STEPPED_BACK_MS:
            log.warning("the clock was put back", extra={"byMs": round(before + (passed - then) * 1000 - now)})
            self.look_anew()
        return int(now)

    def _fire_due(self, now: int) -> bool:
        """Decide about what is due, as many as make a batch; whether there may be more."""
        ends = time.perf_counter() + BATCH_SECONDS
        for _ in range(BATCH):
            entry = self.book.take(now)
            if entry is None:
                return False
            self._decide(entry, now)
            if time.perf_counter() >= ends:
                break
        return True

    def _decide(self, entry: Entry, now: int) -> None:
        if entry.table is None:
            return self._put_off(entry, entry.trouble)
        settings = self._engine.settings
        rules = rules_of(entry, skip_missed=settings.cron.skip_missed_jobs)
        decision = decide(entry.plan, entry.table, rules, self.book.running(entry.job.id), now)
        if decision is None:
            return self.book.push(entry)
        if decision.verdict is Verdict.WAIT:
            return  # looked at again when its run has ended
        if decision.verdict is Verdict.FIRE and (why := self._held(entry)):
            if rules.once:  # it has this slot alone, and waits for its agent
                return self.book.push(entry, now + HELD_MS)
            decision = msgspec.structs.replace(decision, verdict=Verdict.SKIP, why=why)
        self.obey(Firing(entry.kept, entry.version, now, settings, decision))

    def _held(self, entry: Entry) -> str:
        """Why the agent of a job is not to be started by a clock; nothing when it may be."""
        agent, holds = agent_of(entry.job, self._engine.settings.default_agent), self._engine.holds
        if holds.is_stopped(agent):
            return "agent-stopped"
        return "agent-quarantined" if holds.reason(agent) is not None else ""

    def obey(self, firing: Firing) -> None:
        """Have something done for a job, whatever becomes of the caller."""
        assert self._nursery is not None
        self._nursery.start_soon(self._fire, firing)

    async def _fire(self, firing: Firing) -> None:
        job_id = firing.kept.job.id
        try:
            await self.fire(firing)
        except Refusal as refusal:
            log.warning("a cron job could not be started", extra={"job": job_id, "reason": str(refusal)})
            self._later(job_id, AGAIN_MS)
        except FAULTS as error:
            self.teller.broken(job_id, error)
            self._later(job_id, BROKEN_MS)

    async def fire(self, firing: Firing) -> Done:
        """Do something for a job; on disk when this returns. Raises Refusal."""

        def fired(done: Done) -> None:
            self.follow(done)
            if firing.now > self.now() + STEPPED_BACK_MS:  # decided by a clock that was put back since
                self._reckon_one(firing.kept.job.id)

        done: Done = await self._database.write_together(steps.fire_all, firing, then=fired)
        return done

    def _later(self, job_id: str, ms: int) -> None:
        if (entry := self.book.get(job_id)) is not None:
            self.book.push(entry, self.now() + ms)
            self.poke()

    # --- following the disk -------------------------------------------------------------------------------------------

    def follow(self, done: Done) -> None:
        """Bring memory up to what a step did, and tell."""
        if done.stale:
            return
        self._engine.apply(done.changes)
        if (entry := done.entry) is not None and done.started is not None:
            self._begin(entry.job_id, done.started)
        if done.kept is not None:
            self.book.put(done.kept, done.version)
        elif done.gone is not None:
            self.book.remove(done.gone)
        if entry is not None:
            self.teller.tell(entry.job_id, "started" if done.started else "finished", done.kept, entry)
        if done.settled is not None and (why := done.settled.disabled) is not None and done.kept is not None:
            self.teller.disabled(done.kept, why)
        self.called.set()
        self.poke()

    def _begin(self, job_id: str, run_id: str) -> None:
        self.book.begin(job_id, run_id)
        if self._nursery is not None:
            self._nursery.start_soon(self._follow_run, job_id, run_id)

    async def _follow_run(self, job_id: str, run_id: str) -> None:
        """Note the end of a run when it comes."""

        def ended(done: Done | None) -> None:
            if done is not None:
                self.book.end(job_id, run_id)
                self.follow(done)
                if (entry := self.book.get(job_id)) is not None:
                    self.book.push(entry)  # it may have waited for this

        while run_id in self.book.runs_of(job_id):
            settings = self._engine.settings
            try:
                if self._engine.board.get(run_id) is not None:
                    await self._runs.wait(run_id, math.inf)
                now = self.now()
                done = await self._database.write(
                    lambda db, now=now, settings=settings: steps.note_end(db, run_id, settings, now),  # type: ignore[misc]
                    then=ended,
                )
            except Refusal as refusal:
                log.warning("the end of a cron run could not be noted: %s", refusal)
                done = None
            except FAULTS as error:
                self.teller.broken(job_id, error)
                await trio.sleep(BROKEN_MS / 1000)
                continue
            if done is None:
                await trio.sleep(AGAIN_MS / 1000)

    # --- when the clock or the rules of a zone are not what they were -------------------------------------------------

    async def reckon(self) -> None:
        """Look up every job's next slot anew, a few at a time. What is due stays due."""
        self._jumps += 1
        mine = self._jumps
        for number, job_id in enumerate([entry.job.id for entry in self.book]):
            if number % STEP == 0:
                await trio.lowlevel.checkpoint()
            if mine != self._jumps:
                return  # a newer one has begun
            self._reckon_one(job_id)
        self.poke()

    def _reckon_one(self, job_id: str) -> None:
        entry = self.book.get(job_id)
        if entry is None or not entry.job.enabled:
            return
        if entry.table is None:
            self._put_off(entry, entry.trouble)
        elif (plan := reckoned(entry, self.now())) != entry.plan:
            # What changes it before was decided by the clock, or the rules, of before.
            self._store(entry, replace(entry.kept, plan=plan), stale=lambda: self._reckon_one(job_id))

    def _store(
        self, entry: Entry, kept: Kept, then: Callable[[Kept], None] = lambda kept: None,
        stale: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Keep a job in another state, unless it changes before (`stale`); nobody waits for it."""
        kept, version = told(kept, entry.offset), entry.version

        def step(db: sqlite3.Connection) -> bool:
            current = cron.version_of(db, kept.job.id) == version
            if current:
                cron.put_job(db, row_of(kept, version + 1))
            return current

        def stored(current: bool) -> None:
            if current:
                self.book.put(kept, version + 1)
                then(kept)
                self.poke()
            else:
                stale()

        self._database.post(step, then=stored)

    def _put_off(self, entry: Entry, why: str) -> None:
        """A job whose schedule cannot be read now is tried again, and switched off when that does not end."""
        now = self.now()
        settled = schedule_failed(entry.job, why, now)
        off, plan = settled.disabled, replace(entry.plan, slot=entry.plan.slot or now, not_before=now + BROKEN_MS)
        kept = replace(entry.kept, job=settled.job, plan=Plan() if off else plan)
        self.book.push(entry, now + BROKEN_MS)  # should the disk not take it
        self._store(entry, kept, lambda kept: self.teller.disabled(kept, off) if off is not None else None)

    async def _zones_changed(self) -> None:
        log.warning("the rules of time zones have changed; cron looks up every slot anew")
        for entry in list(self.book):
            self.book.put(entry.kept, entry.version)
        await self.reckon()
