"""The rules of pairing as tables."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.auth.principal import Kind, Principal
from gateway.protocol.devices import ClientFacts, Pending, digest_of
from gateway.protocol.errors import Refusal
from gateway.services.pairing import rules
from tests.support.calls import OPERATOR
from tests.support.paired import ADMIN, PAIRING, READ, WRITE, connected, facts, somebody

NOW = 1_000


def waiting(*scopes: str, roles: tuple[str, ...] = ("operator",), key: str = "k", **more: Any) -> Pending:
    return Pending("r1", "d", key, roles[0], roles, scopes, NOW, digest_of("d", key, roles, scopes), **more)


def asked(*scopes: str, role: str = "operator", key: str = "k", **more: Any) -> rules.Wish:
    return rules.wish("d", key, role, scopes, ClientFacts(**more), "not-paired")


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        (waiting(READ), asked(READ), True),
        (waiting(READ, WRITE), asked(READ), True),
        (waiting(WRITE), asked(READ), True),
        (waiting(ADMIN), asked(PAIRING), True),
        (waiting(READ), asked(WRITE), False),
        (waiting(READ), asked(READ, ADMIN), False),
        (waiting(READ), asked(READ, key="another"), False),
        (waiting(READ), asked(role="node"), False),
        (waiting(READ), asked(READ, browser_origin="https://x"), False),
        (waiting(READ, browser_origin="https://x"), asked(READ, browser_origin="https://x"), True),
        (waiting(READ, roles=("operator", "node")), asked(READ), True),
        (waiting(READ, roles=("operator", "node")), asked(role="node"), True),
        (waiting(READ, roles=("operator", "node")), asked(WRITE), False),
        (waiting(roles=("node",)), asked(READ), False),
    ],
)
def test_a_request_is_refreshed_only_when_its_approval_would_grant_nothing_else(before, now, same: bool):
    assert (rules.same_grant([before], now) is before) == same


def test_two_waiting_requests_are_never_refreshed_but_become_one():
    two = [waiting(READ), waiting(roles=("node",))]
    assert rules.same_grant(two, asked(READ)) is None
    one = rules.merged(two, asked(WRITE), "r2", known=True, now=NOW)
    assert (set(one.roles), one.scopes, one.is_repair) == ({"operator", "node"}, (READ, WRITE), True)
    assert one.digest == digest_of("d", "k", one.roles, one.scopes)


def test_what_another_key_asked_for_is_not_inherited():
    one = rules.merged([waiting(ADMIN, key="stolen id")], asked(READ), "r2", known=False, now=NOW)
    assert one.scopes == (READ,)


@pytest.mark.parametrize(
    ("role", "scopes", "kept"),
    [
        ("operator", [READ, "operator.everything", "worker", "session", READ], (READ,)),
        ("node", [READ, ADMIN], ()),
        ("operator", [], ()),
    ],
)
def test_only_scopes_that_exist_and_only_an_operators_are_asked_for(role: str, scopes: list[str], kept: tuple[str]):
    assert rules.wish("d", "k", role, scopes, facts(), "not-paired").scopes == kept


def test_a_role_there_is_not_is_refused():
    with pytest.raises(Refusal, match="invalid role"):
        rules.wish("d", "k", "owner", [], facts(), "not-paired")


def test_what_a_client_says_is_cut_and_harmless():
    told = rules.tidy(facts("\x1b[2Jnice\u202e phone\n", platform="x" * 1000))
    assert told.display_name == "[2Jnice phone"
    assert len(told.platform or "") == rules.MAX_FACT_CHARS


@pytest.mark.parametrize(
    ("ip", "key"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        (None, "unknown"),
        ("a proxy", "a proxy"),
    ],
)
def test_an_address_counts_as_what_one_customer_has(ip: str | None, key: str):
    assert rules.address_key(ip) == key


OPEN = Principal(Kind.OPEN, frozenset({PAIRING}), "outer:0", -1, -1, 0, address="10.0.0.9", method="none")


@pytest.mark.parametrize(
    ("by", "alone"),
    [
        (OPERATOR, False),
        (somebody(PAIRING), False),
        (connected("d", PAIRING), True),
        (connected("d", PAIRING, method="bootstrap-token"), True),
        (connected("d", PAIRING, method="token"), False),
        (connected("d", PAIRING, method="password"), False),
        (connected("d", ADMIN), False),
        (OPEN, False),
    ],
)
def test_a_device_that_showed_only_its_own_token_manages_itself_alone(by: Principal, alone: bool):
    assert rules.manages_itself_only(by) == alone


@pytest.mark.parametrize(
    ("by", "roles", "scopes", "missing"),
    [
        (somebody(PAIRING, READ), ("operator",), (READ,), None),
        (somebody(PAIRING, WRITE), ("operator",), (READ, WRITE), None),
        (somebody(PAIRING, READ), ("operator",), (READ, WRITE), WRITE),
        (somebody(PAIRING), ("operator",), (ADMIN,), ADMIN),
        (somebody(PAIRING), ("node",), (), ADMIN),
        (somebody(PAIRING, WRITE), ("operator", "node"), (READ,), ADMIN),
        (OPERATOR, ("operator", "node"), (ADMIN, PAIRING), None),
    ],
)
def test_nobody_grants_what_they_do_not_have(by: Principal, roles, scopes, missing: str | None):
    if missing is None:
        rules.check_may_grant(by, roles, scopes)
        return
    with pytest.raises(Refusal, match=f"missing scope: {missing}"):
        rules.check_may_grant(by, roles, scopes)


def test_another_key_keeps_nothing_of_the_device_before():
    tokens = iter("abcdef")
    first = rules.granted(None, waiting(ADMIN), "me", NOW, lambda: next(tokens))
    second = rules.granted(first, waiting(READ, key="another"), "me", NOW + 1, lambda: next(tokens))
    assert (first.tokens[0].token, second.tokens[0].token) == ("a", "b")
    assert (second.scopes, second.tokens[0].scopes, second.created_at_ms) == ((READ,), (READ,), NOW + 1)


def test_an_upgrade_keeps_the_token_and_widens_it():
    tokens = iter("abcdef")
    first = rules.granted(None, waiting(READ), "me", NOW, lambda: next(tokens))
    both = rules.granted(first, waiting(WRITE, roles=("operator", "node")), "me", NOW + 1, lambda: next(tokens))
    assert [(one.role, one.token, one.scopes) for one in both.tokens] == [
        ("operator", "a", (READ, WRITE)), ("node", "b", ()),
    ]  # fmt: skip
    assert (both.scopes, both.created_at_ms, both.approved_at_ms) == ((READ, WRITE), NOW, NOW + 1)
