"""How many messages a second are accepted: on disk, with session and run, before the answer.

Owns the proof that an answer meant what it said: after each round the messages are counted where they wait."""

from __future__ import annotations

import uuid

from tests.bench.floors import group_commit
from tests.bench.load import closed_loop, connect, frame, percentile
from tests.bench.place import at_work
from tests.bench.row import Row
from tests.support.system import System

SENDERS = {1: 200, 8: 50, 64: 15}
"""How many send at once, and how many messages each; fewer in all than the thousand a session takes."""
BUDGETS = {64: 8000.0}
ROUNDS = 5


def rows(system: System) -> list[Row]:
    """One row for each number of senders; the rounds take turns, so that a noisy moment hits all of them."""
    rates: dict[int, list[float]] = {senders: [] for senders in SENDERS}
    floors: dict[int, list[float]] = {senders: [] for senders in SENDERS}
    for _ in range(ROUNDS):
        for senders, each in SENDERS.items():
            rates[senders].append(_accepted(system, senders, each))
            floors[senders].append(group_commit(senders * each, senders))
    return [
        Row(
            f"durable accepted messages, {senders} sender{'s' if senders > 1 else ''}",
            percentile(rates[senders], 50), "/s", BUDGETS.get(senders), "high",
            percentile(floors[senders], 50), f"SQLite, FULL, {senders} a commit",
        )
        for senders in SENDERS
    ]  # fmt: skip


def _accepted(system: System, senders: int, each: int) -> float:
    """Messages answered per second, each sender waiting for an answer before its next. They wait behind one turn and
    are aborted with it."""
    with at_work(system, ["sink"]) as run_ids:
        clients = [connect(system.operator) for _ in range(senders)]
        args = {"agentId": "sink", "message": "0", "timeoutSeconds": 0}
        keys = [str(uuid.uuid4()) for _ in range(senders * each)]
        calls = [{"name": "sessions_send", "args": args, "idempotencyKey": key} for key in keys]
        rate = closed_loop(clients, [frame(str(index), "tools.invoke", call) for index, call in enumerate(calls)])
        for client in clients:
            client.close()
        ended = system.call("chat.abort", {"sessionKey": "agent:sink:main", "reason": "measured"})["runIds"]
        run_ids.clear()
    if len(ended) != senders * each + 1:
        raise AssertionError(f"{len(ended)} messages were there, {senders * each + 1} were sent")
    return rate
