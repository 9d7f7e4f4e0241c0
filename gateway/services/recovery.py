"""What a new gateway makes of what earlier ones left: unfinished runs on disk, and the workers the supervisor says are
alive.

Owns the rule: a run whose worker is alive goes on, a run whose worker is gone is lost (another attempt, or
interrupted), everything else queues again in the order it was accepted."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from gateway.services import endings
from gateway.services.admission import owner_of
from gateway.services.board import active_of
from gateway.services.changes import Change
from gateway.services.endings import Loss
from gateway.services.engine import Engine
from gateway.services.run_state import HELD, State
from gateway.services.turns import Holder
from gateway.store import mailbox, records, runs
from gateway.store.runs import RunRecord

log = logging.getLogger("gateway.recovery")


async def recover(engine: Engine, live_rows: list[dict[str, Any]], quarantined: Mapping[str, str]) -> None:
    """Fill an empty engine. `live_rows`: {spawn, agent, session, pid, start}; `quarantined`: agents and the reason."""
    for agent, why in quarantined.items():
        engine.holds.quarantine(agent, why)
    for agent in engine.database.read(records.stopped_agents):
        engine.holds.stop(agent)
    live = {str(row["spawn"]): row for row in live_rows}
    unfinished = await engine.database.read_slow(runs.unfinished)
    going_on = {run.spawn: run for run in unfinished if run.state in HELD and run.spawn in live}
    for spawn, row in live.items():
        run = going_on.get(spawn)
        holder = Holder(spawn, int(row["pid"]), int(row["start"]))
        engine.workers.remember(holder, str(row["agent"]), str(row["session"]), run.id if run else None)
    for run in unfinished:
        _restore(engine, run, goes_on=run.spawn in going_on and going_on[run.spawn] is run)
    gone = [run for run in unfinished if run.state in HELD and run.spawn not in going_on]
    # All at once: between two of them a younger message of a session could start before the older one waits again.
    await engine.database.write(_losing(engine, gone), then=engine.apply)
    log.info("recovered", extra={"unfinished": len(unfinished), "goingOn": len(going_on), "lost": len(gone)})


def _restore(engine: Engine, record: RunRecord, *, goes_on: bool) -> None:
    """One row onto the board, and into the lanes unless it is in somebody's hands."""
    run = active_of(record, engine.database.read(lambda db: owner_of(db, record)))
    engine.board.add(run)
    if goes_on:
        run.state, run.heard = State.RUNNING, True
        engine.lanes.hold(run.ticket)
        engine.board.set_current(run)
        engine.overtime.begin(run, record)
        return
    if record.state in HELD:
        return  # its worker is gone; `lose` decides
    run.state = State.QUEUED
    mail = engine.database.read(lambda db: mailbox.of_run(db, record.id))
    if mail is not None and mail.taken_by is not None:
        run.host = mail.taken_by
    else:
        engine.unheard.begin(run, record.created_at)
        engine.enqueue(run)


def _losing(engine: Engine, gone: list[RunRecord]) -> Callable[[sqlite3.Connection], list[Change]]:
    why, now = "its worker was gone when the gateway started again", engine.clock()
    losses = [(run, Loss(why, endings.is_repeatable(run.agent, engine.settings))) for run in gone]

    def step(db: sqlite3.Connection) -> list[Change]:
        return [change for run, loss in losses for change in endings.lose(db, run.id, run.spawn or "", loss, now)]

    return step
