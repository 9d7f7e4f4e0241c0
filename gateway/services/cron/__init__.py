"""Cron: jobs that run by the clock, and everything handlers and tools may ask of them.

Owns the service `Cron`. Every change is on disk before it is answered. `who` is the agent's session that asks, which
sees and changes the jobs it has made and no others; None is an operator. `keep` says what is to be kept of the answer
under the caller's idempotency key: it is written with the effect."""

from __future__ import annotations

import math
import sqlite3
import uuid
from typing import Any

import msgspec
import trio

from gateway.protocol.calls.cron import CronList, CronRuns, CronStatus, JobPage, JobPatch, RunPage
from gateway.protocol.cron import Owner, RunEntry, Wish
from gateway.protocol.errors import Refusal, invalid, unavailable
from gateway.protocol.keys import lasting_key, main_key, parse_key
from gateway.services.cron.book import Entry, rules_of
from gateway.services.cron.changing import TRIES, Changes, is_mine
from gateway.services.cron.courier import Courier
from gateway.services.cron.declared import PREFIX, apply_declared
from gateway.services.cron.deliveries import MAX_WORDS_WAITING
from gateway.services.cron.listing import list_jobs
from gateway.services.cron.message import run_id_of
from gateway.services.cron.misfire import decide
from gateway.services.cron.overlap import Verdict
from gateway.services.cron.scheduler import Scheduler
from gateway.services.cron.steps import Done, Firing
from gateway.services.engine import Engine
from gateway.services.idempotency import Keep, recalled, unkept
from gateway.services.idempotency import keep as keep_answer
from gateway.services.ports import Publisher
from gateway.services.runs import Runs
from gateway.services.work import NewMessage, Record
from gateway.store import cron
from gateway.store import sessions as session_rows

RUNS_KEPT, RUNS_KEPT_MS = 2000, 7 * 24 * 3_600_000
"""Of each job, and how long (OpenClaw 2026.9.6); of slots as many are remembered."""
SWEEP_STEP = 500
APPLY_AGAIN_SECONDS = 10.0
"""Until jobs of the configuration that the disk did not take are tried again."""


class Cron:
    """Every job, and every way to change it. What is refused raises Refusal."""

    def __init__(self, engine: Engine, runs: Runs, hub: Publisher) -> None:
        self._engine = engine
        self._database = engine.database
        self._runs = runs
        self._scheduler = Scheduler(engine, runs, hub)
        self._courier = Courier(engine, self._scheduler)
        self._changes = Changes(engine, self._scheduler)
        self._asked_at = 0
        self._reloaded = trio.Event()
        self._applied = trio.Event()

    # --- life ---------------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Obey the jobs, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._scheduler.serve)
            nursery.start_soon(self._courier.serve)
            nursery.start_soon(self._follow_configuration)

    def reload(self) -> None:
        """The settings are other ones."""
        self._reloaded.set()
        self._scheduler.poke()

    def disk_changed(self, trouble: Refusal | None) -> None:
        """The disk refuses to store from now on, or stores again: then what it did not take is done anew."""
        if trouble is None:
            self._scheduler.look_anew()
            self._scheduler.called.set()
            self._reloaded.set()

    async def _follow_configuration(self) -> None:
        """The jobs that stand in the configuration, now and after every reload."""
        await self._scheduler.loaded.wait()
        while True:
            self._reloaded = trio.Event()
            done = await apply_declared(self, self._engine.settings.cron.jobs)
            self._applied.set()
            with trio.move_on_after(math.inf if done else APPLY_AGAIN_SECONDS):
                await self._reloaded.wait()

    async def ready(self) -> None:
        """Wait until the jobs have been read and the configuration's are among them; a moment after the start that is
        so."""
        await self._scheduler.loaded.wait()
        await self._applied.wait()

    async def clean(self) -> None:
        """Forget old runs, and the sessions of runs that are over."""
        now = self._scheduler.now()
        jobs = [entry.job.id for entry in self._scheduler.book if entry.job.state.last_run_at_ms]
        for start in range(0, max(1, len(jobs)), SWEEP_STEP):
            part = jobs[start : start + SWEEP_STEP]
            await self._database.write(
                lambda db, part=part: cron.trim(db, part, now - RUNS_KEPT_MS, RUNS_KEPT, SWEEP_STEP)  # type: ignore[misc]
            )
        await self._database.write(lambda db: cron.forget_words(db, now - RUNS_KEPT_MS, SWEEP_STEP))
        kept_ms = self._engine.settings.cron.session_retention_ms
        if kept_ms is not None:
            await self._database.write(lambda db: _drop_sessions(db, now - kept_ms))

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many jobs there are."""
        return len(self._scheduler.book)

    async def status(self) -> CronStatus:
        """Whether the scheduler is at work, and when it next has something to do."""
        await self.ready()
        path, enabled = str(self._database.path), self._engine.settings.cron.enabled
        due = self._scheduler.book.next_due() if enabled else None
        return CronStatus(enabled, False, path, "sqlite", path, self.count, due)

    async def list(self, wanted: CronList, who: Owner | None = None) -> JobPage:
        """A page of jobs."""
        await self.ready()
        book = self._scheduler.book
        jobs = [entry.job for entry in book if is_mine(entry.job, who)]
        return list_jobs(jobs, wanted, self._engine.settings.default_agent, str(book.changes), self._changes.view)

    async def get(self, job_id: str, who: Owner | None = None) -> dict[str, Any]:
        """One job."""
        return self._changes.view((await self._changes.find(job_id, who)).job)

    async def entries(self, wanted: CronRuns, who: Owner | None = None) -> RunPage:
        """A page of the run log: of one job, or of all."""
        await self.ready()
        equal: dict[str, Any] = {}
        among: dict[str, Any] = {}
        job_id = wanted.id or wanted.job_id
        if job_id is not None:
            if who is not None or wanted.scope == "job":
                await self._changes.find(job_id, who)
            equal["job"] = job_id
        elif who is not None:
            among["job"] = [entry.job.id for entry in self._scheduler.book if is_mine(entry.job, who)][:500]
        elif wanted.scope == "job":
            raise invalid("cron.runs with scope job needs id")
        if wanted.run_id is not None:
            equal["run"] = wanted.run_id
        if statuses := wanted.statuses or ((wanted.status,) if wanted.status != "all" else ()):
            among["status"] = statuses
        if fates := wanted.delivery_statuses or ((wanted.delivery_status,) if wanted.delivery_status else ()):
            among["delivery"] = fates
        newest_first = wanted.sort_dir == "desc"
        rows, total = await self._database.read_slow(
            lambda db: cron.page(db, equal, among, wanted.query, newest_first, wanted.limit, wanted.offset)
        )
        entries = [msgspec.json.decode(row.entry, type=RunEntry) for row in rows]
        seen = wanted.offset + len(entries)
        more = seen < total
        return RunPage(entries, total, wanted.offset, wanted.limit, more, seen if more else None)

    # --- changing -----------------------------------------------------------------------------------------------------

    async def add(
        self, wish: Wish, who: Owner | None = None, keep: Keep = unkept, *, declared: bool = False
    ) -> dict[str, Any]:
        """A new job: its view. With a declaration key: {created, updated, job}, and a job that has it becomes this
        one."""
        return await self._changes.add(wish, who, keep, declared=declared)

    async def update(
        self, job_id: str, patch: JobPatch, revision: str | None = None, who: Owner | None = None, keep: Keep = unkept
    ) -> dict[str, Any]:
        """Change a job: its view. `revision`: only if its configuration is still that one."""
        return await self._changes.update(job_id, patch, revision, who, keep)

    async def remove(self, job_id: str, who: Owner | None = None, keep: Keep = unkept) -> dict[str, Any]:
        """Remove a job; a run that goes on goes on. {ok, removed}"""
        return await self._changes.remove(job_id, who, keep)

    async def run(
        self, job_id: str, mode: str = "force", who: Owner | None = None, keep: Keep = unkept
    ) -> dict[str, Any]:
        """Run a job now; accepted when this returns. {ok, enqueued, runId, processInstanceId}, or {ok, ran: false,
        reason}."""
        for _ in range(TRIES):
            entry = await self._changes.find(job_id, who)
            firing = self._asked(entry, mode)
            if isinstance(firing, str):
                return {"ok": True, "ran": False, "reason": firing}
            run_id, instance = run_id_of(entry.job, firing.occasion), str(self._database.epoch)
            answer = {"ok": True, "enqueued": True, "runId": run_id, "processInstanceId": instance}
            record = keep(answer)
            done: Done = await self._scheduler.fire(msgspec.structs.replace(firing, record=record))
            if not done.stale:
                return answer
            if record is not None and done.answered:
                before: dict[str, Any] = self._database.read(lambda db, kept=record: _recalled(db, kept))  # type: ignore[misc]
                return before
        raise unavailable("the job changes all the time; try again", 100)

    def _asked(self, entry: Entry, mode: str) -> Firing | str:
        """What to do about a job that somebody wants to run; a word when nothing is."""
        now, settings, book = self._scheduler.now(), self._engine.settings, self._scheduler.book
        if self._engine.draining is not None:
            return "stopped"
        if mode == "if-enabled" and not entry.job.enabled:
            return "disabled"
        running = book.running(entry.job.id)
        if running and entry.job.overlap != "allow":
            return "already-running"
        if mode != "due":
            self._asked_at = max(now, self._asked_at + 1)
            return Firing(entry.kept, entry.version, self._asked_at, settings)
        if not entry.job.enabled or entry.table is None:
            return "disabled" if not entry.job.enabled else "invalid-spec"
        rules = rules_of(entry, skip_missed=settings.cron.skip_missed_jobs)
        decision = decide(entry.plan, entry.table, rules, running, now)
        if decision is None or decision.verdict is not Verdict.FIRE:
            return "not-due"
        return Firing(entry.kept, entry.version, now, settings, decision)

    async def wake(
        self, mode: str, text: str, session_key: str | None = None, agent_id: str | None = None,
        who: Owner | None = None, *, run_id: str | None = None, keep: Keep = unkept,
    ) -> dict[str, Any]:  # fmt: skip
        """Say something to a session: by a run at once (`now`), or with its next run (`next-heartbeat`). `run_id`: that
        of such a run, the same one when the call is sent again."""
        if not text.strip():
            return {"ok": False}
        agent = (agent_id or (who.agent_id if who else None) or self._engine.settings.default_agent).strip().lower()
        own = lasting_key(who.session_key) if who and who.session_key and agent_id is None else main_key(agent)
        key = parse_key(session_key or own)
        if key is None:
            raise invalid(f'sessionKey "{(session_key or agent)[:128]}" is no session key')
        if key.agent not in self._engine.settings.agents.entries:
            raise invalid(f'"{key}" names no configured agent', code="UNKNOWN_AGENT_ID", agentId=key.agent)
        if who is not None and key.agent != who.agent_id:
            raise invalid(f"{key} is not yours: name a session of the agent {who.agent_id}")
        if key.kind == "subagent":
            return {"ok": False, "reason": "unwakeable-session-key"}
        record, now = keep({"ok": True}), self._scheduler.now()
        if mode == "now":
            said = {"kind": "internal_system", "sourceTool": "wake"}
            sender = (who.session_key if who else None) or "operator"
            message = NewMessage(run_id or str(uuid.uuid4()), str(key), text, said, sender=sender, record=record)
            await self._runs.accept(message)
        else:
            await self._database.write(lambda db: _leave_words(db, str(key), text, now, record))
        return {"ok": True}

    # --- small things -------------------------------------------------------------------------------------------------

    def declared_keys(self) -> set[str]:
        """Declaration keys of the jobs that stand, or stood, in the configuration."""
        keys = (entry.job.declaration_key for entry in self._scheduler.book)
        return {key for key in keys if key is not None and key.startswith(PREFIX)}

    def id_of(self, key: str) -> str | None:
        """The job with a declaration key."""
        entry = self._scheduler.book.declared(None, key)
        return entry.job.id if entry is not None else None


def _recalled(db: sqlite3.Connection, record: Record) -> Any:
    return recalled(db, record.scope, record.key, record.digest)


def _leave_words(db: sqlite3.Connection, session: str, text: str, now: int, record: Record | None) -> None:
    if record is not None and _recalled(db, record) is not None:
        return
    if cron.count_words(db, session) >= MAX_WORDS_WAITING:
        raise unavailable(f"{MAX_WORDS_WAITING} events wait for the session {session} already; send it a message", 5000)
    cron.add_words(db, session, text, now)
    keep_answer(db, record, now)


def _drop_sessions(db: sqlite3.Connection, before: float) -> None:
    for key in cron.old_sessions(db, before, SWEEP_STEP):
        session_rows.delete(db, key)
