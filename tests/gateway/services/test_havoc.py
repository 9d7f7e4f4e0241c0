"""Whatever happens, and in whatever order: the promises of tests/support/promises.py hold after every step, and in the
end everything that was accepted is done.

Each test is a story drawn from its seed: four gateways after each other on one database, with a disk that is slow or
full at times, workers that die, settings that change. A failure names the promise and tells the last steps. To hear one
story again, or many others (what Python's sets and the writer's thread add, no seed fixes: one that failed may pass):

    HAVOC_SEEDS=17-17 PYTHONHASHSEED=0 .venv/bin/python -m pytest tests/gateway/services/test_havoc.py"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio

from gateway.control import SpawnRefused
from gateway.protocol.calls.worker import Assignment
from gateway.protocol.errors import unavailable
from gateway.protocol.keys import parse_key
from gateway.services.work import Accepted
from gateway.store import mailbox
from tests.support.havoc import AGENTS, Hand, Havoc, settings

SESSIONS = ("agent:main:main", "agent:scout:main", "agent:nurse:main", "agent:main:x")
MAX_SHIFT_MS = 10 * 3_600_000.0
"""The wall clock goes wrong by less than a day: ids of runs are kept as idempotency keys that long."""
FIRST, LAST = (int(word) for word in os.environ.get("HAVOC_SEEDS", "1-20").split("-"))


@pytest.mark.parametrize("seed", range(FIRST, LAST + 1), ids="seed-{}".format)
async def test_the_promises_hold_whatever_happens(tmp_path, mock_clock, monkeypatch, seed):
    monkeypatch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)
    trio._core._run._r.seed(seed)
    story = Havoc(seed, tmp_path, mock_clock, ACTIONS)
    for last in (False, False, False, True):
        await story.live(60, last=last)


# --- people -----------------------------------------------------------------------------------------------------------


def send(story: Havoc) -> None:
    """Somebody writes to a session, perhaps twice at once with the same key."""
    name, session = f"m{story.number}", story.draw.choice(SESSIONS)
    more = {
        "lane": story.draw.choice(("main", "main", f"nested:{session}", "cron")), "sender": story.draw.choice("ab"),
        "steer": story.draw.random() < 0.5, "kind": story.draw.choice(("user", "inter_session")),
        "timeout_s": story.draw.choice((None, None, 0, 20)),
    }  # fmt: skip
    story.messages[name] = (f"text {name}", session, more)
    for _ in range(story.draw.choice((1, 1, 1, 2))):
        _send(story, name)


def send_again(story: Havoc) -> None:
    """Somebody does not know whether an earlier message came, and sends it again."""
    if story.messages:
        _send(story, story.draw.choice([*story.messages]))


def _send(story: Havoc, name: str) -> None:
    text, session, more = story.messages[name]
    send_it = partial(story.box.send, text, session, run_id=name, **more)
    story.call(f"send {name} {session} {more}", send_it, note(story))


def note(story: Havoc) -> Callable[[Accepted], None]:
    """Remember what the sender was told."""

    def accepted(answer: Accepted) -> None:
        story.told.accepted[answer.run_id] += answer.created

    return accepted


def spawn(story: Havoc) -> None:
    """A turn starts a sub-agent, or an operator does."""
    parents = [(hand.worker.born.session, hand.run.run_id) for hand in story.busy() if hand.run]
    parent, run = story.draw.choice(parents) if parents and story.draw.random() < 0.8 else (SESSIONS[0], None)
    more: dict[str, Any] = {
        "parent": parent, "agent": story.draw.choice(AGENTS), "cleanup": story.draw.choice(("keep", "delete")),
        "depth": story.depths.get(parent, 0) + 1, "max_children": story.draw.choice((None, 5)),
        "timeout_s": story.draw.choice((None, 30)),
    }  # fmt: skip
    more |= {"parent_run": run} if run else {}
    name = f"k{story.number}"
    story.depths[f"agent:{more['agent']}:subagent:{name}"] = more["depth"]
    story.call(f"spawn {name} {more}", partial(story.box.spawn, name, **more), note(story))


def abort_run(story: Havoc) -> None:
    if board := [*story.box.services.engine.board._runs]:
        name = story.draw.choice(board)
        story.call(f"abort {name}", partial(story.box.services.runs.abort, run_id=name))


def abort_session(story: Havoc) -> None:
    session = story.draw.choice(SESSIONS)
    story.call(f"abort {session}", partial(story.box.services.runs.abort, session_key=session))


def stop_agent(story: Havoc) -> None:
    agent = story.draw.choice(AGENTS)
    story.call(f"stop {agent}", partial(story.box.services.agents.stop, agent, "enough"))


def restart_agent(story: Havoc) -> None:
    agent = story.draw.choice(AGENTS)
    story.call(f"restart {agent}", partial(story.box.services.agents.restart, agent, "again"))


def quarantine(story: Havoc) -> None:
    agent, on = story.draw.choice(AGENTS), story.draw.random() < 0.4
    story.log.append(f"{story.number} quarantine {agent}: {on}")
    story.quarantine(agent, on=on)


def decide_about_a_parked_one(story: Havoc) -> None:
    if parked := story.box.services.mailbox.list(state="dead")["messages"]:
        name, what = story.draw.choice(parked)["runId"], story.draw.choice(("retry", "retry", "drop"))
        if what == "retry":
            story.told.retried |= {name}
        story.call(f"{what} {name}", partial(getattr(story.box.services.mailbox, what), name))


def reset_session(story: Havoc) -> None:
    session = story.draw.choice(SESSIONS)
    story.call(f"reset {session}", partial(story.box.services.runs.reset, session))


def delete_session(story: Havoc) -> None:
    rows, _ = story.box.services.sessions.list_rows()
    if names := [row.key for row in rows if not row.key.endswith(":main")]:
        name = story.draw.choice(names)
        key = parse_key(name)
        assert key is not None
        story.call(f"delete {name}", partial(story.box.services.edits.delete, key))


def configure(story: Havoc) -> None:
    """The file of settings changes: agents go and come, caps and times are others."""
    agents = [agent for agent in AGENTS if agent == "main" or story.draw.random() < 0.8]
    numbers = [story.draw.choice(some) for some in ((1, 2, 3), (1, 2, 3), (0, 10, 50), (0, 20, 90))]
    story.log.append(f"{story.number} configure {agents} {numbers}")
    story.use(settings(agents, *numbers))


def clean(story: Havoc) -> None:
    story.call("clean", story.house.clean)


# --- workers ----------------------------------------------------------------------------------------------------------


def at_work(act: Callable[[Havoc, Hand, Assignment], None]) -> Callable[[Havoc], None]:
    """What some worker does that has a run, when there is one."""

    def action(story: Havoc) -> None:
        if hands := [(hand, hand.run) for hand in story.busy() if hand.run is not None]:
            act(story, *story.draw.choice(hands))

    return action


@at_work
def finish(story: Havoc, hand: Hand, run: Assignment) -> None:
    status = story.draw.choice(("done", "done", "done", "done", "failed", "aborted", "timed_out"))
    given = story.box.services.database.read(lambda db: mailbox.taken_by(db, run.run_id))
    unread = [mail.id for mail in given if story.draw.random() < 0.5]
    story.finish(hand, status, story.draw.choice(("ok", "NO_REPLY")), unread)


@at_work
def say(story: Havoc, hand: Hand, run: Assignment) -> None:
    story.call(f"{hand.spawn} speaks", partial(hand.worker.say, run, "hm", seq=story.number))


@at_work
def begin_an_action(story: Havoc, hand: Hand, run: Assignment) -> None:
    """Something outside that must not be repeated when its end is not known."""
    effect, state = story.draw.choice(("unsafe", "safe")), story.draw.choice(("intent", "done"))
    more = {"effect": effect} if state == "intent" else {}
    story.call(f"{hand.spawn} acts", partial(hand.worker.note, run, "act", state, **more))


@at_work
def steer(story: Havoc, hand: Hand, run: Assignment) -> None:
    is_open = story.draw.random() < 0.7
    story.call(f"{hand.spawn} reads: {is_open}", partial(hand.worker.steer, run, open=is_open))


@at_work
def collect(story: Havoc, hand: Hand, run: Assignment) -> None:
    """A turn waits for its children's results, as its tool does."""
    waiter, session = story.box.services.runs, hand.worker.born.session
    children = [child.run_id for child in waiter.children(session)]
    wanted = story.draw.sample(children, min(2, len(children))) if story.draw.random() < 0.5 else None
    seconds = story.draw.choice((0, 3, 40))

    async def take() -> None:
        waiter.hold_slot(run.run_id, True)
        try:
            found = await waiter.take_results(session, wanted, seconds)
        finally:
            waiter.hold_slot(run.run_id, False)
        story.told.taken.update(child.run_id for child in found)
        story.log.append(f"  {run.run_id} got {[child.run_id for child in found]}")

    story.call(f"{run.run_id} of {session} waits for {wanted} {seconds} s", take)


def lose_the_answer(story: Havoc) -> None:
    """What a worker was told did not arrive, or its connection was cut: it asks again."""
    if hands := [*story.hands.values()]:
        hand = story.draw.choice(hands)
        holding = hand.run if story.draw.random() < 0.5 else None
        story.log.append(f"{story.number} {hand.spawn} asks again, holding {holding and holding.run_id}")
        hand.scope.cancel()
        if story.draw.random() < 0.5:
            hand.worker.connect()
        story.employ(hand.worker, holding)


def die(story: Havoc) -> None:
    """A process ends: at work, idle, before it was met; asked to, used up, or of itself. It may be heard once more."""
    busy = [hand.worker.born for hand in story.busy()]
    born = [*(hand.worker.born for hand in story.hands.values()), *story.unmet.values(), *busy, *busy, *busy]
    if not born:
        return
    one = story.draw.choice(born)
    hand = story.hands.get(one.spawn)
    if story.draw.random() < 0.3:
        story.box.services.agents.stop_workers(one.agent, "somebody said so")
    code, signal, reason = story.draw.choice(
        ((0, None, ""), (1, None, ""), (None, 9, ""), (None, 9, ""), (None, 9, "limits.memoryBytes: too much"))
    )
    run = hand.run if hand else None
    story.bury(one, code, signal, reason)
    if hand is not None and run is not None and story.draw.random() < 0.5:
        story.call("a dead worker speaks", partial(hand.worker.say, run, "late", seq=story.number))
        story.call("a dead worker finishes", partial(hand.worker.finish, run, "late"))


# --- what is around ---------------------------------------------------------------------------------------------------


def slow_disk(story: Havoc) -> None:
    story.log.append(f"{story.number} slow")
    story.make_slow()


def fast_disk(story: Havoc) -> None:
    story.log.append(f"{story.number} fast")
    story.make_fast()


def full_disk(story: Havoc) -> None:
    story.log.append(f"{story.number} full")
    story.full = unavailable("nothing was stored: the disk is full", 1000, cause="full")


def empty_disk(story: Havoc) -> None:
    story.log.append(f"{story.number} room again")
    story.full = None


def pass_time(story: Havoc) -> None:
    seconds = story.draw.choice((0.25, 1, 3, 6, 16, 31))
    story.log.append(f"{story.number} {seconds} s pass")
    story.time.jump(seconds)


def set_the_clock(story: Havoc) -> None:
    """Forth and back."""
    story.shift = story.draw.uniform(-MAX_SHIFT_MS, MAX_SHIFT_MS)
    story.log.append(f"{story.number} clock is off by {story.shift / 1000:.0f} s")


def hinder_the_supervisor(story: Havoc) -> None:
    """It starts no workers of an agent, or does not answer; for a while."""
    supervisor, agent = story.box.supervisor, story.draw.choice(AGENTS)
    how = story.draw.choice(("refuse", "refuse for good", "be silent"))
    story.log.append(f"{story.number} the supervisor begins to {how} {agent}")
    if how == "be silent":
        supervisor.awake = trio.Event() if supervisor.awake.is_set() else supervisor.awake
    else:
        supervisor.refuse[agent] = SpawnRefused("it cannot", quarantined=how == "refuse for good")


def let_the_supervisor(story: Havoc) -> None:
    story.log.append(f"{story.number} the supervisor is well")
    story.box.supervisor.refuse.clear()
    story.box.supervisor.awake.set()


def reap(story: Havoc) -> None:
    story.reap()


ACTIONS: dict[Callable[[Havoc], None], int] = {
    send: 12, send_again: 2, spawn: 8, abort_run: 3, abort_session: 1, stop_agent: 2, restart_agent: 3, quarantine: 3,
    decide_about_a_parked_one: 6, reset_session: 2, delete_session: 3, configure: 3, clean: 2,
    finish: 20, say: 3, begin_an_action: 2, steer: 9, collect: 6, lose_the_answer: 4, die: 11,
    slow_disk: 6, fast_disk: 8, full_disk: 2, empty_disk: 5, pass_time: 6, set_the_clock: 2,
    hinder_the_supervisor: 2, let_the_supervisor: 3, reap: 3,
}  # fmt: skip
