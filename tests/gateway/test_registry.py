"""Budgets of connections, and which connections end with a worker."""

from __future__ import annotations

import contextlib

import pytest

from gateway.protocol.errors import CloseReason
from gateway.protocol.limits import (
    CONNECT_BURST,
    CONNECTS_PER_SECOND,
    FLOOD_CONNECTS,
    MAX_CONNECTIONS_PER_PRINCIPAL,
)
from gateway.registry import Registry, TooMany
from tests.support.doors import operator, tool, worker


class Recorded:
    """A connection that writes down what becomes of it."""

    def __init__(self) -> None:
        self.ended: list[CloseReason] = []
        self.retired = False

    def end(self, reason: CloseReason, detail: str = "") -> None:
        self.ended.append(reason)

    def retire(self) -> None:
        self.retired = True


def test_a_worker_and_its_tools_share_one_number_of_connections():
    registry = Registry()
    for number in range(MAX_CONNECTIONS_PER_PRINCIPAL):
        registry.enter(Recorded(), worker() if number == 0 else tool(), number)
    with pytest.raises(TooMany, match="connections are open"):
        registry.enter(Recorded(), tool(), 1000.0)
    registry.enter(Recorded(), tool("s2"), 1000.0)
    registry.enter(Recorded(), operator(), 1000.0)
    assert len(registry) == MAX_CONNECTIONS_PER_PRINCIPAL + 2


def test_a_connection_that_leaves_makes_room():
    registry, last = Registry(), Recorded()
    for number in range(MAX_CONNECTIONS_PER_PRINCIPAL - 1):
        registry.enter(Recorded(), tool(), number)
    registry.enter(last, tool(), 100.0)
    registry.leave(last, tool())
    registry.enter(Recorded(), tool(), 200.0)


def test_connecting_again_and_again_is_slowed_down():
    registry = Registry()

    def come_and_go(now: float) -> None:
        connection = Recorded()
        registry.enter(connection, tool(), now)
        registry.leave(connection, tool())

    for _ in range(CONNECT_BURST):
        come_and_go(0.0)
    with pytest.raises(TooMany, match="times a second"):
        come_and_go(0.0)
    for _ in range(CONNECTS_PER_SECOND):
        come_and_go(1.0)
    with pytest.raises(TooMany):
        come_and_go(1.0)


def test_who_is_turned_away_and_never_stops_is_told_about_once():
    floods: list[str] = []
    registry = Registry(lambda principal: floods.append(principal.agent))
    for _ in range(CONNECT_BURST + 2 * FLOOD_CONNECTS):
        with contextlib.suppress(TooMany):
            connection = Recorded()
            registry.enter(connection, tool(), 0.0)
            registry.leave(connection, tool())
    assert floods == [tool().agent]


def test_operators_may_come_back_all_at_once():
    registry = Registry()
    for _ in range(CONNECT_BURST + 100):
        registry.enter(Recorded(), operator(), 0.0)


def test_a_worker_that_ends_takes_its_connections_and_its_tools_along():
    registry = Registry()
    mine, tools, other = Recorded(), Recorded(), Recorded()
    registry.enter(mine, worker(), 0.0)
    registry.enter(tools, tool(), 0.0)
    registry.enter(other, tool("s2"), 0.0)
    assert registry.end_worker("s1") == 2
    assert mine.ended == tools.ended == [CloseReason.WORKER_GONE]
    assert other.ended == []
    assert registry.end_worker("never heard of") == 0


def test_the_newest_ticketed_connection_replaces_the_older():
    registry, first, second = Registry(), Recorded(), Recorded()
    registry.seat_worker(first, worker())
    registry.seat_worker(first, worker())
    registry.seat_worker(second, worker())
    assert first.ended == [CloseReason.REPLACED]
    registry.leave(first, worker())
    registry.seat_worker(Recorded(), worker())
    assert second.ended == [CloseReason.REPLACED]


def test_once_retiring_everybody_is_retired_and_so_is_who_still_comes():
    registry, here, late = Registry(), Recorded(), Recorded()
    registry.enter(here, operator(), 0.0)
    registry.retire_all()
    registry.enter(late, operator(), 0.0)
    assert here.retired
    assert late.retired


def test_budgets_nobody_uses_are_forgotten():
    registry = Registry()
    for number in range(1000):
        connection, principal = Recorded(), tool(f"s{number}")
        registry.enter(connection, principal, number * 60.0)
        registry.leave(connection, principal)
    assert len(registry._budgets) < 3
