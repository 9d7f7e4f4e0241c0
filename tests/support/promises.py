"""What must hold of a gateway's services whenever its writer rests, whatever has happened to them.

Owns the list `PROMISES`. Each is a plain function from a box, and what its story remembers, to sentences about what is
broken; its name is what a failure is called. They look at memory and disk alike, which no caller may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from gateway.services.lanes import Lanes
from gateway.services.run_state import ENDED, HELD, State
from gateway.store import mailbox, records, runs, sessions
from gateway.store.runs import RunRecord
from tests.support.engine import Box


@dataclass
class Remembered:
    """What people and workers were told: how often a message was taken as new, whose results were handed out, which
    parked messages were tried again."""

    accepted: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    retried: set[str] = field(default_factory=set)


Promise = Callable[[Box, Remembered], Iterable[str]]


def broken(box: Box, told: Remembered) -> list[str]:
    """Every promise that does not hold, with its name."""
    return [f"{promise.__name__}: {what}" for promise in PROMISES for what in promise(box, told)]


def _unfinished(box: Box) -> dict[str, RunRecord]:
    return {run.id: run for run in box.services.database.read(runs.unfinished)}


def _rows(box: Box, sql: str) -> list[tuple[Any, ...]]:
    return box.services.database.read(lambda db: db.execute(sql).fetchall())


def _mail(box: Box, run: str) -> mailbox.MailRecord:
    mail = box.services.database.read(lambda db: mailbox.of_run(db, run))
    assert mail is not None, f"{run} has no message"
    return mail


def _parked(box: Box, session: str) -> int:
    return box.services.database.read(partial(mailbox.count_dead, session=session))


# --- memory and disk --------------------------------------------------------------------------------------------------


def memory_follows_the_disk(box: Box, told: Remembered) -> Iterable[str]:
    """The same runs in both, in hands or not in both, steered into the same turn, their agents stopped in both."""
    engine, disk = box.services.engine, _unfinished(box)
    board = engine.board._runs
    if box.services.database.broken.is_set():
        yield f"the database is given up: {box.services.database.fault!r}"
    for name in disk.keys() ^ board.keys():
        yield f"{name} is {'on disk' if name in disk else 'in memory'} only"
    for name in disk.keys() & board.keys():
        run, row = board[name], disk[name]
        if (run.state in HELD) != (row.state in HELD):
            yield f"{name} is {run.state} in memory, {row.state} on disk"
        if run.state in HELD and (run.spawn, run.attempt) != (row.spawn, row.attempt):
            yield f"{name} is held by {run.spawn}/{run.attempt} in memory, {row.spawn}/{row.attempt} on disk"
        if run.state not in HELD and run.host != _mail(box, name).taken_by:
            yield f"{name} was steered into {run.host} in memory, {_mail(box, name).taken_by} on disk"
    if sorted(engine.holds._stopped) != (stopped := box.services.database.read(records.stopped_agents)):
        yield f"stopped are {engine.holds._stopped} in memory, {stopped} on disk"


def children_are_counted(box: Box, told: Remembered) -> Iterable[str]:
    """A parent's unfinished children, in memory as on disk."""
    children = (run for run in _unfinished(box).values() if run.kind == "task" and run.parent_session)
    counted = Counter(run.parent_session for run in children)
    if counted != box.services.engine.board._children:
        yield f"{box.services.engine.board._children} in memory, {counted} on disk"


def nothing_is_left_of_what_ended(box: Box, told: Remembered) -> Iterable[str]:
    """No place in a lane, no parked place, no session and no deadline of a run there is not."""
    engine = box.services.engine
    board, lanes = engine.board._runs, engine.lanes
    parked = chain.from_iterable(engine.holds._parked.values())
    for name in [*lanes._queued, *lanes._holding, *parked, *engine.board._current.values()]:
        if name not in board:
            yield f"{name} has a place"
    for what, name in (key for key in engine.timers._due if isinstance(key, tuple)):
        if what in ("start", "run", "warn", "idle", "announce") and name not in board:
            yield f"{name} has a deadline ({what})"


# --- lanes ------------------------------------------------------------------------------------------------------------


def a_run_has_one_place(box: Box, told: Remembered) -> Iterable[str]:
    """A run in progress has a slot and its session; one that waits stands in its lane, or is parked for its agent, or
    was steered."""
    engine = box.services.engine
    for name, run in engine.board._runs.items():
        parked = [agent for agent, names in engine.holds._parked.items() if name in names]
        places = (name in engine.lanes._queued, name in engine.lanes._holding, len(parked))
        if run.state is not State.QUEUED:
            current = engine.board._current.get(run.session)
            right = places == (False, True, 0) and current == name
        elif run.host is not None:
            right = places == (False, False, 0)
        elif engine.holds.why(run.agent) is not None and run.agent in engine.settings.agents.entries:
            right = places == (False, False, 1)
        else:
            right = places == (True, False, 0)
        if not right:
            yield f"{name} ({run.state}, steered into {run.host}) is queued, holds a slot, parked: {places}"


def slots_add_up(box: Box, told: Remembered) -> Iterable[str]:
    """As many slots are in use as runs hold that do not wait; a run holds none exactly while it waits."""
    engine = box.services.engine
    lanes: Lanes = engine.lanes
    used = Counter(ticket.lane for name, ticket in lanes._holding.items() if name not in lanes._paused)
    if used != lanes._in_use:
        yield f"in use are {lanes._in_use}, held are {dict(used)}"
    waiting = {name for name, run in engine.board._runs.items() if run.state is State.WAITING}
    if waiting != lanes._paused:
        yield f"waiting are {waiting}, without a slot {lanes._paused}"


def nobody_waits_for_nothing(box: Box, told: Remembered) -> Iterable[str]:
    """What may start has started: its session is free, its lane has a slot, nothing older of its sender waits."""
    engine = box.services.engine
    if box.services.database.trouble is not None:
        return
    for ticket in engine.lanes._queued.values():
        used, cap = engine.lanes.load(ticket.lane)
        first = engine.lanes._waiting[ticket.lane][ticket.owner][ticket.session][0] is ticket
        oldest = engine.lanes._told[ticket.session, ticket.sender][0] == ticket.order
        if used < cap and first and oldest and ticket.session not in engine.lanes._busy:
            yield f"{ticket.run} could start in {ticket.lane} ({used} of {cap})"


def somebody_comes_for_what_starts(box: Box, told: Remembered) -> Iterable[str]:
    """While a run that is starting has time, its worker is there or asked for."""
    engine = box.services.engine
    for name, run in engine.board._runs.items():
        awaited = run.session in engine.workers._by_session or run.session in engine.workers._coming
        if run.state is State.STARTING and ("start", name) in engine.timers._due and not awaited:
            yield f"{name} waits for a worker nobody asked for"


# --- exactly once -----------------------------------------------------------------------------------------------------


def accepted_once_and_kept(box: Box, told: Remembered) -> Iterable[str]:
    """A message somebody was told is accepted is on disk; its key is new once, whatever happens between."""
    kept = {name for (name,) in _rows(box, "SELECT id FROM runs")}
    for name, times in told.accepted.items():
        if name not in kept:
            yield f"{name} was accepted and is gone"
        if times > 1:
            yield f"{name} was new {times} times"


def said_once(box: Box, told: Remembered) -> Iterable[str]:
    """A run's message stands in a transcript once; what becomes of a child that was tried again is told again."""
    sql = "SELECT session, run, count(*) FROM transcript WHERE role = 'user' GROUP BY 1, 2 HAVING count(*) > 1"
    for session, run, times in _rows(box, sql):
        if run.rsplit(":", 1)[-1] not in told.retried:
            yield f"{run} stands {times} times in {session}"


def said_in_order(box: Box, told: Remembered) -> Iterable[str]:
    """What one sender told a session stands there in the order it came, but for what was tried again later."""
    sql = """SELECT t.session, r.sender, r.seq, r.id FROM transcript t JOIN runs r ON r.id = t.run
        WHERE t.role = 'user' AND r.kind != 'announce' ORDER BY t.session, t.seq"""
    last: dict[tuple[str, str], int] = {}
    for session, sender, seq, name in _rows(box, sql):
        if name not in told.retried:
            if seq < last.get((session, sender), 0):
                yield f"{name} of {sender} stands in {session} behind a younger one"
            last[session, sender] = seq


def tried_no_more_than_allowed(box: Box, told: Remembered) -> Iterable[str]:
    """Attempts are bounded."""
    sql = "SELECT id, attempt FROM runs WHERE attempt > coalesce(attempts_allowed, 3)"
    yield from (f"{name} was tried {attempt} times" for name, attempt in _rows(box, sql))


def a_child_is_told_of(box: Box, told: Remembered) -> Iterable[str]:
    """Whoever expects to hear of a child hears of its end, unless it ended with what would hear it, was silent, or its
    parent's session is gone."""
    sql = """SELECT id FROM runs c WHERE kind = 'task' AND announces AND ended_at IS NOT NULL AND state != 'aborted'
        AND NOT (state = 'done' AND text = 'NO_REPLY')
        AND NOT EXISTS (SELECT 1 FROM runs WHERE id = 'announce:' || c.id)
        AND EXISTS (SELECT 1 FROM sessions WHERE key = parent_session)"""
    yield from (f"nobody is told of {name}" for (name,) in _rows(box, sql))


def a_result_is_handed_out_once(box: Box, told: Remembered) -> Iterable[str]:
    """A parent that asks for a result gets it once; what it took instead of an announcement nobody had begun to hear is
    told to nobody."""
    for name, times in told.taken.items():
        if times > 1 and name not in told.retried:
            yield f"the result of {name} was handed out {times} times"
    sql = """SELECT r.id FROM runs r JOIN transcript t ON t.run = r.id AND t.role = 'user'
        WHERE r.stop_reason IN ('consumed', 'withdrawn') AND r.attempt = 0"""
    yield from (f"{name} was taken, and told all the same" for (name,) in _rows(box, sql))


def a_message_is_in_the_right_hands(box: Box, told: Remembered) -> Iterable[str]:
    """A message is through when its run has ended, and only then; one that was steered is with a turn that goes on."""
    sql = """SELECT m.run, m.state, r.state, h.state FROM mailbox m JOIN runs r ON r.id = m.run
        LEFT JOIN runs h ON h.id = m.taken_by"""
    for name, mail, run, host in _rows(box, sql):
        parked = mail in (mailbox.DEAD, mailbox.DROPPED)
        if (run in ENDED) == (mail in (mailbox.NEW, mailbox.TAKEN)) or parked != (run == State.INTERRUPTED):
            yield f"the message of {name} is {mail}, its run {run}"
        if mail == mailbox.TAKEN and (host is None or host in ENDED):
            yield f"the message of {name} is with a turn that is {host}"


def what_is_to_go_is_gone(box: Box, told: Remembered) -> Iterable[str]:
    """A session that is removed with its run is, once nothing goes on in it or below it and no message of it is
    parked."""
    database = box.services.database
    for (name,) in _rows(box, "SELECT key FROM sessions WHERE cleanup = 'delete'"):
        if not (database.read(partial(sessions.is_at_work, key=name)) or _parked(box, name)):
            yield f"{name} is still there"


PROMISES: tuple[Promise, ...] = (
    memory_follows_the_disk, children_are_counted, nothing_is_left_of_what_ended, a_run_has_one_place, slots_add_up,
    nobody_waits_for_nothing, somebody_comes_for_what_starts, accepted_once_and_kept, said_once, said_in_order,
    tried_no_more_than_allowed, a_child_is_told_of, a_result_is_handed_out_once, a_message_is_in_the_right_hands,
    what_is_to_go_is_gone,
)  # fmt: skip
