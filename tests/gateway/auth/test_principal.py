"""What a principal may do, is called, and shares with others."""

from __future__ import annotations

import pytest

from gateway.auth.principal import Kind, Principal
from gateway.protocol import scopes
from tests.support.doors import operator, tool, worker


def test_scopes_imply_others_and_everybody_may_call_what_is_public():
    reader = operator(granted=frozenset({scopes.WRITE}))
    assert reader.may(scopes.WRITE)
    assert reader.may(scopes.READ)
    assert reader.may(scopes.PUBLIC)
    assert not reader.may(scopes.ADMIN)


def test_no_operator_scope_implies_acting_as_a_session():
    assert not operator().may(scopes.SESSION)
    assert not operator().may(scopes.WORKER)


def test_a_worker_and_its_tools_share_session_and_budget():
    assert tool().account == worker().account == "agent:main:main"
    assert tool().budget == worker().budget == "s1"


def test_all_operators_share_a_budget_but_not_an_account():
    assert operator(0).budget == operator(1).budget
    assert operator(0).account != operator(1).account


def test_a_foreign_uid_is_nobody_elses_account():
    assert Principal(Kind.FOREIGN, frozenset(), "foreign", 0, 0, 0).account != operator(0).account


@pytest.mark.parametrize("principal", [operator(), tool(), worker()], ids=["operator", "tool", "worker"])
def test_a_name_says_what_and_which_process(principal: Principal):
    assert str(principal.pid) in principal.name
    assert principal.kind.value in principal.name


def test_what_a_peer_was_decided_to_be_cannot_be_changed():
    with pytest.raises(AttributeError):
        tool().scopes = scopes.OPERATOR_SCOPES  # type: ignore[misc]
