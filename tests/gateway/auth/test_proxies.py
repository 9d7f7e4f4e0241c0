"""Whose address counts behind a proxy, and when a proxy's word for a user does."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.auth.proxies import (
    Attributed,
    ProxyRule,
    Unattributable,
    _elements,
    check_user,
    client_address,
    networks_from,
)

PROXIES = networks_from(["10.0.0.0/8", "2001:db8:aa::/48", "::ffff:192.0.2.9", "127.0.0.1", "::ffff:198.51.100.0/120"])
XFF, FWD = "x-forwarded-for", "forwarded"


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("203.0.113.1", [], "203.0.113.1"),
        ("::ffff:203.0.113.1", [], "203.0.113.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [(XFF, "203.0.113.1")], "203.0.113.1"),
        ("::ffff:10.0.0.1", [(XFF, "::ffff:203.0.113.1")], "203.0.113.1"),
        ("192.0.2.9", [(XFF, "203.0.113.1")], "203.0.113.1"),
        ("198.51.100.4", [(XFF, "203.0.113.1")], "203.0.113.1"),
        ("2001:db8:aa::1", [(XFF, "2001:db8::5")], "2001:db8::5"),
        # from the right: what the client wrote itself stands left of what the proxies saw
        ("10.0.0.1", [(XFF, "127.0.0.1, 203.0.113.1, 10.0.0.2")], "203.0.113.1"),
        ("10.0.0.1", [(XFF, "127.0.0.1"), (XFF, "203.0.113.1")], "203.0.113.1"),
        ("10.0.0.1", [(XFF, "rubbish, 203.0.113.1")], "203.0.113.1"),
        ("10.0.0.1", [(XFF, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
        ("10.0.0.1", [(XFF, "203.0.113.1:5555")], "203.0.113.1"),
        ("10.0.0.1", [(XFF, "[2001:db8::5]:5555")], "2001:db8::5"),
        ("10.0.0.1", [(FWD, "for=203.0.113.1;proto=https")], "203.0.113.1"),
        ("10.0.0.1", [(FWD, 'proto=https; for="[2001:db8::5]:80"')], "2001:db8::5"),
        ("10.0.0.1", [(FWD, "for=1.1.1.1, For=203.0.113.1")], "203.0.113.1"),
        ("10.0.0.1", [(FWD, "for=203.0.113.1"), (XFF, "203.0.113.1")], "203.0.113.1"),
        ("10.0.0.1", [(FWD, 'for="1.1.1.1, for=203.0.113.1')], "203.0.113.1"),
        # nobody can say
        ("203.0.113.1", [(XFF, "127.0.0.1")], None),
        ("203.0.113.1", [("x-real-ip", "127.0.0.1")], None),
        ("203.0.113.1", [("tailscale-user-login", "a@b")], None),
        ("10.0.0.1", [("x-forwarded-proto", "https")], None),
        ("10.0.0.1", [(XFF, "")], None),
        ("10.0.0.1", [(XFF, "203.0.113.1, unknown")], None),
        ("10.0.0.1", [(XFF, ", ".join(["10.0.0.2"] * 40))], None),
        ("10.0.0.1", [(FWD, "for=_hidden")], None),
        ("10.0.0.1", [(FWD, "for=1.1.1.1, proto=https")], None),
        ("10.0.0.1", [(FWD, "xfor=1.1.1.1")], None),
        ("10.0.0.1", [(FWD, "for=1.1.1.1"), (XFF, "203.0.113.1")], None),
        ("nowhere", [], None),
    ],
)
def test_whose_address_it_is(peer: str, headers: list[tuple[str, str]], address: str | None):
    found = client_address(peer, headers, PROXIES)
    assert (found.address if isinstance(found, Attributed) else None) == address


@pytest.mark.parametrize("quotes", ['"\\', '\\"', 'for="\\', ';for="\\"'])
def test_a_thousand_quotes_that_do_not_end_take_no_time(quotes: str):
    """To look for the end of each of them took hours."""
    assert _elements(f'"{quotes * 200_000}, for=203.0.113.1')[-1] == " for=203.0.113.1"


@given(st.text('"\\,a ', max_size=12))
def test_elements_are_what_looking_at_each_quote_finds(text: str):
    assert _elements(text) == re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+', text)


def test_the_log_hears_who_sent_what_unasked():
    found = client_address("203.0.113.1", [(XFF, "127.0.0.1"), ("x-real-ip", "1")], PROXIES)
    assert found == Unattributable("x-forwarded-for, x-real-ip from 203.0.113.1, which is no trusted proxy")


def test_the_proxy_is_remembered_beside_its_client():
    assert client_address("10.0.0.1", [(XFF, "203.0.113.1")], PROXIES) == Attributed("203.0.113.1", "10.0.0.1")


def test_without_trusted_proxies_nobody_forwards():
    assert isinstance(client_address("10.0.0.1", [(XFF, "203.0.113.1")], ()), Unattributable)


RULE = ProxyRule("X-User", ("x-secret",), frozenset({"ann"}), allow_loopback=True, proxy_uids=frozenset({33}))
GOOD = [("x-user", " ann "), ("x-secret", "1")]


@pytest.mark.parametrize(
    ("peer", "headers", "rule", "local", "uid", "outcome"),
    [
        ("10.0.0.1", GOOD, RULE, False, -1, "ann"),
        ("10.0.0.1", GOOD, None, False, -1, "trusted_proxy_config_missing"),
        ("203.0.113.1", GOOD, RULE, False, -1, "trusted_proxy_untrusted_source"),
        ("10.0.0.1", GOOD, RULE, True, 33, "trusted_proxy_local_interface_source"),
        ("127.0.0.1", GOOD, RULE, True, 33, "ann"),
        ("127.0.0.1", GOOD, RULE, True, 34, "trusted_proxy_loopback_source"),
        ("127.0.0.1", GOOD, RULE, True, 0, "trusted_proxy_loopback_source"),
        ("127.0.0.1", GOOD, RULE, False, 33, "trusted_proxy_loopback_source"),
        ("127.0.0.1", GOOD, replace(RULE, allow_loopback=False), True, 33, "trusted_proxy_loopback_source"),
        ("127.0.0.1", GOOD, replace(RULE, proxy_uids=frozenset()), True, 33, "trusted_proxy_loopback_source"),
        ("10.0.0.1", [("x-user", "ann")], RULE, False, -1, "trusted_proxy_missing_header_x-secret"),
        ("10.0.0.1", [("x-user", "ann"), ("x-secret", " ")], RULE, False, -1, "trusted_proxy_missing_header_x-secret"),
        ("10.0.0.1", [("x-secret", "1")], RULE, False, -1, "trusted_proxy_user_missing"),
        ("10.0.0.1", [("x-secret", "1"), ("x-user", " ")], RULE, False, -1, "trusted_proxy_user_missing"),
        ("10.0.0.1", [*GOOD, ("x-user", "root")], RULE, False, -1, "trusted_proxy_user_missing"),
        ("10.0.0.1", [("x-user", "bob"), ("x-secret", "1")], RULE, False, -1, "trusted_proxy_user_not_allowed"),
        ("10.0.0.1", [("x-user", "bob")], ProxyRule("x-user"), False, -1, "bob"),
    ],
)
def test_whom_a_proxy_vouches_for(
    peer: str, headers: list[tuple[str, str]], rule: ProxyRule | None, local: bool, uid: int, outcome: str
):
    user, reason = check_user(peer, headers, PROXIES, rule, local=local, uid=uid)
    assert (user or reason) == outcome
    assert bool(user) != bool(reason)


def test_a_mode_without_proxies_admits_nobody():
    assert check_user("10.0.0.1", GOOD, (), RULE, local=False, uid=-1) == ("", "trusted_proxy_no_proxies_configured")


def test_a_network_that_is_none_is_said_to_be():
    with pytest.raises(ValueError, match="nonsense"):
        networks_from(["nonsense"])
