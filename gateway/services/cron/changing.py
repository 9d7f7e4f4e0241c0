"""Making, changing and removing jobs. Every change is on disk before it is answered, and is made to the state of the
job that was looked at: one that meets another change is made again.

Owns how many jobs there may be, and what becomes of a job's time when its schedule changes."""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.protocol.calls.cron import JobPatch
from gateway.protocol.cron import At, Job, Owner, Wish
from gateway.protocol.errors import invalid, unavailable
from gateway.schedules.facts import Facts
from gateway.schedules.job import make_job, never_fires, offset_of, patch_job, table_of
from gateway.services.cron.book import Entry, Kept, row_of, told
from gateway.services.cron.declared import PREFIX
from gateway.services.cron.listing import view_of
from gateway.services.cron.misfire import Plan
from gateway.services.cron.scheduler import Scheduler
from gateway.services.engine import Engine
from gateway.services.idempotency import Keep, recalled, unkept
from gateway.services.idempotency import keep as keep_answer
from gateway.store import cron

MAX_JOBS = 20_000
MAX_JOBS_PER_AGENT = 200
"""That an agent may make; an operator makes as many as there may be."""
TRIES = 5
"""Of a change that meets another change of the same job."""


class Changes:
    """The jobs of a scheduler, to be changed. `who` as in `Cron`."""

    def __init__(self, engine: Engine, scheduler: Scheduler) -> None:
        self._engine = engine
        self._database = engine.database
        self._scheduler = scheduler

    async def find(self, job_id: str, who: Owner | None) -> Entry:
        """A job. Raises Refusal CRON_JOB_NOT_FOUND for one there is not, and for somebody else's."""
        await self._scheduler.loaded.wait()
        entry = self._scheduler.book.get(job_id)
        if entry is None or not is_mine(entry.job, who):
            what = f'there is no cron job "{job_id[:128]}"; peergate cron list shows those there are'
            raise invalid(what, code="CRON_JOB_NOT_FOUND", jobId=job_id[:128])
        return entry

    async def add(
        self, wish: Wish, who: Owner | None = None, keep: Keep = unkept, *, declared: bool = False
    ) -> dict[str, Any]:
        """A new job: its view. With a declaration key: {created, updated, job}, and a job that has it becomes this
        one."""
        await self._scheduler.loaded.wait()
        key = wish.declaration_key
        if key is not None and key.startswith(PREFIX) and not declared:
            raise invalid(f'declarationKey must not begin with "{PREFIX}": such jobs stand in the configuration')
        for _ in range(TRIES):
            existing = self._scheduler.book.declared(who, key) if key is not None else None
            answer = await (self._make(wish, who, keep) if existing is None else self._converge(existing, wish, keep))
            if answer is not None:
                return answer
        raise unavailable("the job changes all the time; try again", 100)

    async def _make(self, wish: Wish, who: Owner | None, keep: Keep) -> dict[str, Any] | None:
        if len(self._scheduler.book) >= MAX_JOBS:
            raise invalid(f"there are {MAX_JOBS} cron jobs; remove some (peergate cron rm)")
        own = sum(1 for entry in self._scheduler.book if is_mine(entry.job, who)) if who is not None else 0
        if own >= MAX_JOBS_PER_AGENT:
            raise invalid(f"the agent {who.agent_id if who else ''} has {own} cron jobs, which is the most it may have")
        job = make_job(wish, str(uuid.uuid4()), self._facts(who))
        declaration = None if job.declaration_key is None else digest_of(wish)
        kept = self._planned(Kept(job, Plan(), declaration=declaration))
        row, view = row_of(kept, 1), self.view(kept.job)
        answer = view if wish.declaration_key is None else {"created": True, "job": view}
        record = keep(answer)

        def step(db: sqlite3.Connection) -> dict[str, Any] | None:
            before = recalled(db, record.scope, record.key, record.digest) if record is not None else None
            if before is not None:  # the call that made it comes again
                return dict(before)
            if row.declaration_key is not None and cron.is_declared(db, row.declaration_key):
                return None
            cron.put_job(db, row)
            keep_answer(db, record, job.created_at_ms)
            return answer

        return await self._database.write(
            step, then=lambda told: self._changed(kept, 1, "added") if told is answer else None
        )

    async def _converge(self, existing: Entry, wish: Wish, keep: Keep) -> dict[str, Any] | None:
        """Make a declared job what is wished for now; nothing happens when it is that already. Whether it is switched
        on stays as it is while the wish stays the same: an operator, or its failing, may have switched it off."""
        before, digest = existing.job, digest_of(wish)
        again = isinstance(wish.schedule, At) and wish.schedule == before.schedule
        made = make_job(wish, before.id, self._facts(before.owner), timed=again)
        over = again and table_of(made.schedule, 0, self._scheduler.zones.get).after(self._scheduler.now()) is None
        enabled = before.enabled if over or digest == existing.kept.declaration else wish.enabled
        same = {name: getattr(before, name) for name in ("created_at_ms", "updated_at_ms", "state", "config_revision")}
        made = replace(made, enabled=enabled, **same)
        if _keeps_anchor(wish, before):
            made = replace(made, schedule=before.schedule)
        if made == before and digest == existing.kept.declaration:
            return {"created": False, "updated": False, "job": self.view(before)}

        def changed(view: Mapping[str, Any]) -> dict[str, Any]:
            return {"created": False, "updated": True, "job": view}

        kept = await self._store(existing, made, lambda view: keep(changed(view)), declaration=digest)
        return None if kept is None else changed(self.view(kept.job))

    async def update(
        self, job_id: str, patch: JobPatch, revision: str | None = None, who: Owner | None = None, keep: Keep = unkept
    ) -> dict[str, Any]:
        """Change a job: its view. `revision`: only if its configuration is still that one."""
        for _ in range(TRIES):
            entry = await self.find(job_id, who)
            if revision is not None and revision != str(entry.kept.revision):
                raise invalid(
                    f"the job {job_id} has changed (configRevision {entry.kept.revision}, not {revision[:64]}); "
                    "look at it again", code="CRON_REVISION_CONFLICT",
                )  # fmt: skip
            kept = await self._store(entry, patch_job(entry.job, patch, self._facts(who)), keep)
            if kept is not None:
                return self.view(kept.job)
        raise unavailable("the job changes all the time; try again", 100)

    async def _store(
        self, entry: Entry, job: Job, keep: Keep = unkept, *, declaration: str | None = None
    ) -> Kept | None:
        """Keep a job with another configuration; None when it changed meanwhile."""
        before = entry.job
        fresh = job.schedule != before.schedule or (job.enabled and not before.enabled)
        if fresh:
            state = replace(job.state, auto_disabled=None, consecutive_errors=0, consecutive_skipped=0)
            job = replace(job, state=state)
        job = replace(job, updated_at_ms=self._scheduler.now())
        plan, declaration = entry.plan if job.enabled else Plan(), declaration or entry.kept.declaration
        kept = Kept(job, plan, entry.kept.revision + 1, declaration)
        kept = self._planned(kept) if fresh and job.enabled else told(kept, offset_of(job))
        version, record = entry.version, keep(self.view(kept.job))

        def step(db: sqlite3.Connection) -> bool:
            current = cron.version_of(db, job.id) == version
            if current:
                cron.put_job(db, row_of(kept, version + 1))
                keep_answer(db, record, job.updated_at_ms)
            return current

        stored = await self._database.write(
            step, then=lambda stored: self._changed(kept, version + 1, "updated") if stored else None
        )
        return kept if stored else None

    async def remove(self, job_id: str, who: Owner | None = None, keep: Keep = unkept) -> dict[str, Any]:
        """Remove a job; a run that goes on goes on. {ok, removed}"""
        await self._scheduler.loaded.wait()
        entry = self._scheduler.book.get(job_id)
        if entry is None or not is_mine(entry.job, who):
            return {"ok": True, "removed": False}
        answer, now = {"ok": True, "removed": True}, self._scheduler.now()

        def step(db: sqlite3.Connection) -> None:
            cron.remove_job(db, job_id)
            keep_answer(db, keep(answer), now)

        await self._database.write(step, then=lambda _: self._removed(job_id))
        return answer

    def _facts(self, who: Owner | None) -> Facts:
        settings = self._engine.settings
        return Facts(
            self._scheduler.now(), settings.default_agent, settings.agents.entries, self._scheduler.zones.get, who
        )

    def _planned(self, kept: Kept) -> Kept:
        """A job whose time begins now. Raises Refusal for one that would never fire."""
        job, now = kept.job, self._scheduler.now()
        if not job.enabled:
            return told(replace(kept, plan=Plan()), 0)
        offset = offset_of(job)
        slot = table_of(job.schedule, job.created_at_ms, self._scheduler.zones.get).after(now - offset)
        if slot is None:
            raise never_fires(job.schedule)
        job = replace(job, state=replace(job.state, schedule_activated_at_ms=now))
        return told(replace(kept, job=job, plan=Plan(slot)), offset)

    def _changed(self, kept: Kept, version: int, action: str) -> None:
        self._scheduler.book.put(kept, version)
        self._scheduler.teller.tell(kept.job.id, action, kept)
        self._scheduler.poke()

    def _removed(self, job_id: str) -> None:
        if self._scheduler.book.remove(job_id) is not None:
            self._scheduler.teller.tell(job_id, "removed", None)

    def view(self, job: Job) -> dict[str, Any]:
        """A job as clients read it."""
        usual = "skip" if self._engine.settings.cron.skip_missed_jobs else "run-once"
        return view_of(replace(job, misfire=job.misfire or usual))


def digest_of(wish: Wish) -> str:
    """What tells one declaration of a job from another."""
    return hashlib.sha256(msgspec.json.encode(wish, order="deterministic")).hexdigest()


def _keeps_anchor(wish: Wish, before: Job) -> bool:
    """Whether a pace without an anchor goes on from where it was."""
    asked, had = wish.schedule, before.schedule
    return (
        asked.__class__ is had.__class__
        and getattr(asked, "anchor_ms", 0) is None
        and getattr(asked, "every_ms", None) == getattr(had, "every_ms", None)
    )


def is_mine(job: Job, who: Owner | None) -> bool:
    """Whether a job may be seen and changed: an operator may everything, an agent what it has made."""
    return who is None or (job.owner is not None and job.owner.agent_id == who.agent_id)
