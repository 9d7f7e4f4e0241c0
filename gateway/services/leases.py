"""The worker's side of the engine: take a run, report, finish.

Owns the hand-over: a run is in the hands of one worker process, and only the newest `worker.next` of that process
waits."""

from __future__ import annotations

import logging
from typing import Any

import trio

from gateway.protocol.calls.worker import Assignment, WorkerEffect, WorkerEmit, WorkerFinish
from gateway.protocol.errors import Refusal, invalid, unavailable
from gateway.protocol.frames import Response, encode
from gateway.protocol.limits import MAX_WORKER_BUFFERED_BYTES
from gateway.services import effects, endings, plain, turns
from gateway.services.changes import Outcome
from gateway.services.endings import Ending
from gateway.services.engine import Engine
from gateway.services.overtime import why_late
from gateway.services.run_state import HELD, Event, State, next_state
from gateway.services.workers import Seat
from gateway.store import runs
from gateway.store.runs import RunEvent
from gateway.store.tool_calls import DONE, INTENT, CallRecord
from supervisor.crashpoints import crashpoint

log = logging.getLogger("gateway.leases")

MAX_STATE_BYTES = 256 * 1024
_FINISHES = {
    "done": Event.SUCCEEDED,
    "failed": Event.FAILED,
    "aborted": Event.ABORTED,
    "timed_out": Event.EXPIRED,
}


class Leases:
    """Runs in workers' hands."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._database = engine.database

    async def next_for(self, seat: Seat, holding: str | None, attempt: int) -> Assignment:
        """The next run for this worker; waits for one. With `holding`, at once: whether that run is still its own."""
        if holding is not None:
            return await self._resume(seat, holding, attempt)
        turn = seat.turn = object()
        seat.wake.set()  # an older call of this worker ends
        self._keeps(seat)
        try:
            return await self._wait_for_next(seat, turn)
        finally:
            seat.heard = trio.current_time()
            if seat.turn is turn:
                seat.turn = None

    async def _wait_for_next(self, seat: Seat, turn: object) -> Assignment:
        engine = self._engine
        while seat.turn is turn and not seat.gone:
            seat.wake = trio.Event()
            current = engine.board.current(seat.session)
            if current is not None and current.spawn == seat.holder.spawn and current.state in HELD:
                # The answer of an earlier call was lost on its way: the same lease again.
                if again := self._resumed(seat, current.id, None):
                    if await self._can_travel(again):
                        return again
                    continue
            elif current is not None and current.state is State.STARTING:
                leased = await self._lease(seat, current.id)
                if leased and self._keeps(seat) and await self._can_travel(leased):
                    return leased
                continue
            await seat.wake.wait()
        raise unavailable(
            "the worker has ended" if seat.gone else "a newer worker.next of this worker waits in its place"
        )

    async def _lease(self, seat: Seat, run_id: str) -> Assignment | None:
        now = self._engine.clock()
        settings = self._engine.settings
        leased = await self._engine.commit(lambda db: turns.lease(db, run_id, seat.holder, now, settings))
        crashpoint("gateway.lease.after")
        return leased

    def _keeps(self, seat: Seat) -> bool:
        """Whether the run in the hands of a worker that asks for one is still its own. If not, asking lets go of it."""
        run = self._engine.board.get(seat.holds) if seat.holds else None
        if run is not None and run.spawn == seat.holder.spawn and run.state in HELD:
            return True
        seat.holds = None
        self._engine.timers.clear(("let go", seat.holder.spawn))
        return False

    async def _can_travel(self, assignment: Assignment) -> bool:
        """Whether a frame can hold it. If not, the run has failed: giving it again would fail again, for ever."""
        try:
            size = len(encode(Response("", True, assignment)))
        except (OverflowError, TypeError, ValueError, RecursionError) as error:
            why = f"{type(error).__name__}: {error}"
        else:
            if size <= MAX_WORKER_BUFFERED_BYTES:  # more of it at once ends the connection
                return True
            why = f"with its session's state and the messages it was sent it has {size} bytes"
        run_id, now = assignment.run_id, self._engine.clock()
        log.error("a run could not be given to its worker", extra={"run": run_id, "reason": why})
        ending = Ending(Event.FAILED, error=f"the run could not be given to its worker ({why})", by_worker=True)
        await self._engine.commit(lambda db: Outcome(None, endings.end(db, run_id, ending, now)))
        return False

    async def _resume(self, seat: Seat, holding: str, attempt: int) -> Assignment:
        found = self._resumed(seat, holding, attempt)
        if found is None or not await self._can_travel(found):
            return Assignment(run_id=holding, attempt=attempt, message="", provenance={}, abandoned=True)
        seat.holds = holding
        return found

    def _resumed(self, seat: Seat, run_id: str, attempt: int | None) -> Assignment | None:
        return self._database.read(lambda db: turns.resume(db, run_id, seat.holder.spawn, attempt))

    def _hear(self, seat: Seat, run_id: str) -> None:
        """A worker speaks of its run, which is a sign of progress also when the disk is slow."""
        run = self._engine.board.get(run_id)
        if run is not None and run.spawn == seat.holder.spawn:
            self._engine.touch(run_id)

    async def emit(self, seat: Seat, report: WorkerEmit) -> dict[str, Any]:
        """Write events; the answer says up to which number they are on disk."""
        engine, now = self._engine, self._engine.clock()
        self._hear(seat, report.run_id)
        events = [_event_of(report.seq + index, index, one) for index, one in enumerate(report.events)]

        def follow(new: list[RunEvent] | None) -> None:
            run = engine.board.get(report.run_id)
            if run is not None and new is not None:
                run.heard = True
                engine.touch(run.id)
                for one in new:
                    engine.news.agent(run, one.stream, one.data)

        spawn = seat.holder.spawn
        new = await self._database.write(
            lambda db: turns.emit(db, report.run_id, spawn, report.attempt, events, now), then=follow
        )
        if new is None:
            raise self._not_yours(report.run_id)
        return {"acked": report.seq + len(events) - 1}

    async def finish(self, seat: Seat, report: WorkerFinish) -> dict[str, Any]:
        """End a run as its worker says. Saying it again is fine; a run that was ended otherwise meanwhile is
        refused."""
        event = _FINISHES.get(report.status)
        if event is None:
            raise invalid(f'status "{report.status}" is not served, allowed: {", ".join(_FINISHES)}')
        engine, now = self._engine, self._engine.clock()

        def step(db: Any) -> Outcome[bool]:
            held = turns.held_by(db, report.run_id, seat.holder.spawn, report.attempt)
            if held is not None:
                # With its steer channel still open a message may be on its way that the worker cannot know of: then
                # none counts as read, and telling one twice is the lesser harm.
                unread = None if held.steering else report.unread
                error = report.error
                if event is Event.EXPIRED and error is None:
                    error = why_late(held, engine.settings)
                ending = Ending(event, report.text, error, unread, by_worker=True)
                return Outcome(True, endings.end(db, report.run_id, ending, now))
            run = runs.get(db, report.run_id)
            ours = run is not None and run.spawn == seat.holder.spawn and run.attempt == report.attempt
            return Outcome(ours and run is not None and run.state == next_state(State.RUNNING, event))

        if not await self._engine.commit(step):
            self._let_go(seat, report.run_id)
            raise self._not_yours(report.run_id)
        self._let_go(seat, report.run_id)
        return {"ok": True, "runId": report.run_id}

    def _let_go(self, seat: Seat, run_id: str) -> None:
        if seat.holds == run_id:
            seat.holds = None
            self._engine.timers.clear(("let go", seat.holder.spawn))

    async def steering(self, seat: Seat, run_id: str, *, open: bool) -> dict[str, Any]:
        """Open or close a turn's steer channel. When the answer to closing arrives, every steered message has arrived
        before it."""
        if not await self._engine.commit(lambda db: turns.steering(db, run_id, seat.holder.spawn, open=open)):
            raise self._not_yours(run_id)
        self._engine.touch(run_id)
        return {"ok": True}

    async def keep_state(self, seat: Seat, run_id: str, state: dict[str, Any]) -> dict[str, Any]:
        """Replace the session's durable state."""
        packed = plain.packed(state, "the state")
        if len(packed.encode()) > MAX_STATE_BYTES:
            raise invalid(f"the state is {len(packed.encode())} bytes as JSON, at most {MAX_STATE_BYTES} are kept")
        now = self._engine.clock()
        if not await self._database.write(lambda db: turns.keep_state(db, run_id, seat.holder.spawn, packed, now)):
            raise self._not_yours(run_id)
        self._engine.touch(run_id)
        return {"ok": True}

    async def effect(self, seat: Seat, report: WorkerEffect) -> dict[str, Any]:
        """Write that an action outside begins, or how it ended; the answer to the former says whether an earlier
        attempt has done it already."""
        engine, now, spawn = self._engine, self._engine.clock(), seat.holder.spawn
        self._hear(seat, report.run_id)

        def follow(found: CallRecord | None) -> None:
            run = engine.board.get(report.run_id)
            if run is not None and found is not None:
                run.heard = True
                engine.touch(run.id)
                engine.news.tool(run, _told(found))

        found = await self._database.write(lambda db: effects.note(db, report, spawn, now), then=follow)
        if found is None:
            raise self._not_yours(report.run_id)
        return {"state": found.state, "result": found.result}

    def _not_yours(self, run_id: str) -> Refusal:
        record = self._database.read(lambda db: runs.get(db, run_id))
        how = f"it is {record.state}" if record else "there is no such run"
        return invalid(f"the run {run_id[:128]} is not this worker's (any more): {how}", code="NOT_YOURS", runId=run_id)


def _event_of(seq: int, index: int, told: dict[str, Any]) -> RunEvent:
    """Number `index` of the events of a report. Raises Refusal for what cannot be told to everybody."""
    stream = told.get("stream", "log")
    if not isinstance(stream, str):
        raise invalid(f"events[{index}].stream is no text")
    return RunEvent(seq, stream, plain.plain(told.get("data"), f"events[{index}].data"))


def _told(found: CallRecord) -> dict[str, Any]:
    """An action as the tool stream tells it: begun, or ended, also when an earlier attempt did it."""
    named = {"name": found.name, "toolCallId": found.call}
    if found.state == INTENT:
        return {"phase": "start", **named, "args": {}}
    return {"phase": "result", **named, "isError": found.state != DONE}
