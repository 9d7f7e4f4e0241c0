"""Somebody outside may change how the system is run so often, and no more; who is quiet has the whole of it again."""

from __future__ import annotations

import pytest

from gateway.auth.principal import Kind, Principal
from gateway.auth.writebudget import MAX_CALLS, WINDOW_MS, WriteBudget, payer_of
from tests.support.doors import operator, tool, worker


def outside(device: str = "", address: str = "192.0.2.7", user: str = "") -> Principal:
    kind = Kind.DEVICE if device else Kind.OPEN
    return Principal(kind, frozenset(), "outer:0", -1, -1, 0, device=device, address=address, user=user)


def test_the_call_after_the_last_waits_until_the_first_is_a_window_ago():
    budget = WriteBudget()
    assert [budget.spend("cron.add", "a", at) for at in range(0, MAX_CALLS * 1000, 1000)] == [0] * MAX_CALLS
    assert budget.spend("cron.add", "a", 40_000) == 20_000
    assert budget.spend("cron.add", "a", WINDOW_MS - 1) == 1
    assert budget.spend("cron.add", "a", WINDOW_MS) == 0
    assert budget.spend("cron.add", "a", WINDOW_MS) == 1000  # the second call's turn


def test_calls_that_are_refused_do_not_make_the_wait_longer():
    budget = WriteBudget()
    for _ in range(MAX_CALLS):
        budget.spend("cron.add", "a", 0)
    assert [budget.spend("cron.add", "a", at) for at in (1, 2, 3)] == [WINDOW_MS - 1, WINDOW_MS - 2, WINDOW_MS - 3]
    assert budget.spend("cron.add", "a", WINDOW_MS) == 0


def test_methods_and_callers_are_counted_apart():
    budget = WriteBudget()
    for _ in range(MAX_CALLS):
        budget.spend("cron.add", "a", 0)
    assert budget.spend("cron.add", "a", 0) > 0
    assert budget.spend("cron.run", "a", 0) == 0
    assert budget.spend("cron.add", "b", 0) == 0


def test_it_remembers_so_many_and_forgets_who_has_been_quiet_longest():
    budget = WriteBudget(max_entries=2)
    for who in ("quiet", "busy"):
        for _ in range(MAX_CALLS):
            budget.spend("cron.add", who, 0)
    assert budget.spend("cron.add", "third", 0) == 0
    assert budget.spend("cron.add", "busy", 1) > 0
    assert budget.spend("cron.add", "quiet", 1) == 0


PAYERS = {
    "operator": (operator(), None),
    "worker": (worker(), None),
    "tool": (tool(), None),
    "device": (outside("d1"), "device:d1"),
    "the same device elsewhere": (outside("d1", "192.0.2.8"), "device:d1"),
    "no device": (outside(), "address:192.0.2.7"),
    "no device, IPv6": (outside(address="2001:db8::7"), "address:2001:db8::/64"),
    "a proxy's user": (outside(user="ann"), "address:192.0.2.7"),
}


@pytest.mark.parametrize("who", PAYERS)
def test_a_budget_is_a_devices_or_an_addresss_and_nobodys_on_this_machine(who: str):
    principal, payer = PAYERS[who]
    assert payer_of(principal) == payer
