"""Makes the calls to addresses outside that the end of a run asks for, and makes them again when they fail.

Owns the patience: how often and how far apart, and how many at once. A host that does not answer has few of them, so
that calls to others do not wait for it. A call is written before it is made and forgotten after, so one that was
under way when the gateway died is made again, with the same Idempotency-Key; none is made while the disk notes
nothing, or it would be made again every second."""

from __future__ import annotations

import logging
import random
from collections import Counter

import trio
from msgspec.structs import replace

from gateway.protocol.errors import Refusal
from gateway.services.cron import steps
from gateway.services.cron.scheduler import Scheduler
from gateway.services.cron.teller import FAULTS
from gateway.services.cron.webhook import Fate, Post, Reach, post
from gateway.services.engine import Engine
from gateway.store import cron
from gateway.store.cron import CallRow

log = logging.getLogger("gateway.cron")

PAUSES_MS = (10_000, 60_000, 300_000)
"""Between one attempt and the next, a fifth more or less; after the last one a call is given up."""
LATEST_MS = PAUSES_MS[-1] * 6 // 5
AT_ONCE, AT_ONCE_PER_HOST = 16, 2
MAX_SLEEP_SECONDS = 60.0
AGAIN_SECONDS = 1.0


class Courier:
    """The calls that are to be made."""

    def __init__(self, engine: Engine, scheduler: Scheduler) -> None:
        self._engine = engine
        self._database = engine.database
        self._scheduler = scheduler
        self._under_way: dict[str, str] = {}
        """Calls that are being made, and the origin of each."""

    async def serve(self) -> None:
        """Make calls as they come due, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                self._scheduler.called = trio.Event()
                now = self._scheduler.now()
                try:
                    while (call := self._next(now)) is not None:
                        self._under_way[call.id] = call.origin
                        nursery.start_soon(self._make, call)
                    due = self._database.read(lambda db, now=now: cron.next_call(db, now))  # type: ignore[misc]
                except Refusal as refusal:
                    log.warning("the calls that are to be made could not be read: %s", refusal)
                    await trio.sleep(AGAIN_SECONDS)
                    continue
                # What is due already waits for another call to end, which is told.
                seconds = MAX_SLEEP_SECONDS if due is None else (due - self._engine.clock()) / 1000
                with trio.move_on_after(min(max(seconds, 0.01), MAX_SLEEP_SECONDS)):
                    await self._scheduler.called.wait()

    def _next(self, now: int) -> CallRow | None:
        """The next call to be made, if there is room for one and what becomes of it can be noted."""
        if len(self._under_way) >= AT_ONCE or self._database.trouble is not None:
            return None
        full = [origin for origin, count in Counter(self._under_way.values()).items() if count >= AT_ONCE_PER_HOST]
        return self._database.read(lambda db: cron.due_call(db, now, now + LATEST_MS, [*self._under_way], full))

    async def _make(self, call: CallRow) -> None:
        try:
            await self._make_and_note(call)
        finally:
            del self._under_way[call.id]
            self._scheduler.called.set()

    async def _make_and_note(self, call: CallRow) -> None:
        settings = self._engine.settings.cron
        rules = settings.webhook_ssrf_policy
        what = Post(call.url, call.body.encode(), call.id, settings.webhook_token if call.signed else None)
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
        try:
            await self._database.write(
                lambda db: steps.note_call(db, call, error, settings, now),
                then=lambda done: self._scheduler.follow(done) if done is not None else None,
            )
        except FAULTS as fault:  # to make it again would not mend that
            self._scheduler.teller.broken(call.job, fault)
            await self._database.write(lambda db: cron.drop_call(db, call.id))
