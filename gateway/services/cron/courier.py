"""Makes the calls to addresses outside that the end of a run asks for, one after the other and again when they fail.

Owns the patience: how often and how far apart. A call is written before it is made and forgotten after, so one that was
under way when the gateway died is made again, with the same Idempotency-Key."""

from __future__ import annotations

import logging
import random

import trio
from msgspec.structs import replace

from gateway.protocol.errors import Refusal
from gateway.services.cron import steps
from gateway.services.cron.scheduler import Scheduler
from gateway.services.cron.webhook import Fate, Post, Reach, post
from gateway.services.engine import Engine
from gateway.store import cron
from gateway.store.cron import CallRow

log = logging.getLogger("gateway.cron")

PAUSES_MS = (10_000, 60_000, 300_000)
"""Between one attempt and the next; after the last one a call is given up."""
AT_ONCE = 4
MAX_SLEEP_SECONDS = 60.0
AGAIN_SECONDS = 1.0


class Courier:
    """The calls that are to be made."""

    def __init__(self, engine: Engine, scheduler: Scheduler) -> None:
        self._engine = engine
        self._database = engine.database
        self._scheduler = scheduler

    async def serve(self) -> None:
        """Make calls as they come due, for ever."""
        while True:
            self._scheduler.called = trio.Event()
            try:
                calls = self._database.read(lambda db: cron.due_calls(db, self._scheduler.now(), AT_ONCE))
                if calls:
                    async with trio.open_nursery() as nursery:
                        for call in calls:
                            nursery.start_soon(self._make, call)
                    continue
                due = self._database.read(cron.next_call)
            except Refusal as refusal:
                log.warning("a call could not be noted, and is made again: %s", refusal)
                await trio.sleep(AGAIN_SECONDS)
                continue
            seconds = MAX_SLEEP_SECONDS if due is None else (due - self._engine.clock()) / 1000
            with trio.move_on_after(min(max(seconds, 0.01), MAX_SLEEP_SECONDS)):
                await self._scheduler.called.wait()

    async def _make(self, call: CallRow) -> None:
        settings = self._engine.settings.cron
        rules = settings.webhook_ssrf_policy
        what = Post(call.url, call.body.encode(), call.id, settings.webhook_token)
        fate = await post(what, Reach(rules.allow_private_network, rules.allowed_hostnames))
        try:
            await self._note(call, fate)
        except Refusal as refusal:
            log.warning("a call could not be noted, and is made again: %s", refusal)
            await trio.sleep(AGAIN_SECONDS)

    async def _note(self, call: CallRow, fate: Fate) -> None:
        now = self._scheduler.now()
        if not fate.ok and fate.again and call.attempts < len(PAUSES_MS):
            pause = round(PAUSES_MS[call.attempts] * random.uniform(0.8, 1.2))
            later = replace(call, attempts=call.attempts + 1, due_at=now + pause)
            await self._database.write(lambda db: cron.put_call(db, later))
            return
        if not fate.ok:
            log.warning("a call was given up", extra={"job": call.job, "reason": fate.error})
        error, settings = None if fate.ok else fate.error, self._engine.settings
        await self._database.write(
            lambda db: steps.note_call(db, call, error, settings, now),
            then=lambda done: self._scheduler.follow(done) if done is not None else None,
        )
