"""The journal of what turns do outside: an action is written down before it is done and after.

Owns the rule of repeating: what is done is not done again, its result is given; what failed fails again, unless it may
be repeated; what was only begun is begun again when its name says that it may be, or when an operator has decided so.
That an open unsafe action ends the run is `endings.lose`."""

from __future__ import annotations

import sqlite3

from gateway.protocol.calls.worker import WorkerEffect
from gateway.protocol.errors import invalid
from gateway.protocol.limits import MAX_ACTION_RESULT_BYTES
from gateway.services import plain
from gateway.services.run_state import HELD
from gateway.store import runs, tool_calls
from gateway.store.runs import RunRecord
from gateway.store.tool_calls import CallRecord

MAX_NAME_CHARS = 256
MAX_PER_RUN = 10_000
"""Actions of one run; the next is refused."""


def note(db: sqlite3.Connection, report: WorkerEffect, spawn: str, now: float) -> CallRecord | None:
    """Write down a beginning or an end; how the action stands then. None: the run is not this worker's. Raises
    Refusal.

    How an action ended may be told after the run was ended: an operator wants to know."""
    run = runs.get(db, report.run_id)
    if run is None or run.spawn != spawn or run.attempt != report.attempt:
        return None
    if report.state == tool_calls.INTENT:
        return _begin(db, run, report, now) if run.state in HELD else None
    packed = plain.packed(report.result, f"the result of {report.name[:MAX_NAME_CHARS]}")
    if len(packed) > MAX_ACTION_RESULT_BYTES:
        raise invalid(
            f"the result of {report.name} is {len(packed)} bytes as JSON, at most {MAX_ACTION_RESULT_BYTES} are kept"
        )
    tool_calls.settle(db, run.id, report.call, report.state, packed, now)
    return tool_calls.get(db, run.id, report.call)


def _begin(db: sqlite3.Connection, run: RunRecord, report: WorkerEffect, now: float) -> CallRecord | None:
    if not 0 < len(report.name) <= MAX_NAME_CHARS or not 0 < len(report.call) <= MAX_NAME_CHARS:
        raise invalid(f"the name of an action has 1 to {MAX_NAME_CHARS} characters")
    known = tool_calls.get(db, run.id, report.call)
    if known is not None and (known.state == tool_calls.DONE or _failed_for_good(known)):
        return known
    if known is None and tool_calls.count(db, run.id) >= MAX_PER_RUN:
        raise invalid(f"the run has noted {MAX_PER_RUN} actions, more are not kept: do many small ones under one name")
    tool_calls.put_intent(db, run.id, report.call, report.name, report.effect, run.attempt, now)
    return tool_calls.get(db, run.id, report.call)


def _failed_for_good(known: CallRecord) -> bool:
    return known.state == tool_calls.FAILED and known.effect == "unsafe"
