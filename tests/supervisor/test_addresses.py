"""Every bind against hosts with and without IPv6 and a tailnet; how addresses are compared and written."""

from __future__ import annotations

import pytest

from supervisor.addresses import MAX_ADDRESSES, Address, NoAddress, resolve_bind, shown, tailnet_of, unmapped

PLAIN = ["127.0.0.1", "192.0.2.2", "::1", "fd00::2", "fe80::1%eth0"]
TAILNET = [*PLAIN, "100.101.102.103", "fd7a:115c:a1e0::abcd"]
FOUR, SIX = Address("127.0.0.1"), Address("::1", optional=True)
TAIL_FOUR, TAIL_SIX = Address("100.101.102.103"), Address("fd7a:115c:a1e0::abcd")


@pytest.mark.parametrize(
    ("bind", "custom", "interfaces", "addresses"),
    [
        ("off", (), TAILNET, []),
        ("loopback", (), PLAIN, [FOUR, SIX]),
        ("lan", (), PLAIN, [Address("0.0.0.0"), Address("::", optional=True)]),
        ("tailnet", (), TAILNET, [TAIL_FOUR, TAIL_SIX]),
        ("tailnet", (), ["100.64.0.0", "100.127.255.255"], [Address("100.64.0.0"), Address("100.127.255.255")]),
        ("auto", (), PLAIN, [FOUR, SIX]),
        ("auto", (), TAILNET, [TAIL_FOUR, TAIL_SIX, FOUR, SIX]),
        ("custom", ("10.0.0.1",), PLAIN, [Address("10.0.0.1")]),
        ("custom", ("10.0.0.1", "fd00::2", "10.0.0.1"), PLAIN, [Address("10.0.0.1"), Address("fd00::2")]),
    ],
)
def test_a_bind_names_its_addresses(bind, custom, interfaces, addresses):
    assert resolve_bind(bind, custom, interfaces) == addresses


@pytest.mark.parametrize(
    ("bind", "custom", "interfaces", "said"),
    [
        ("tailnet", (), PLAIN, "start tailscaled and log in, or set gateway.bind to auto"),
        ("tailnet", (), ["100.63.255.255", "100.128.0.1", "fd7a:115c:a1e1::1"], "no address in a tailnet"),
        ("tailnet", (), [], "no address in a tailnet"),
        ("custom", (), PLAIN, "set gateway.customBindHost"),
        ("wan", (), PLAIN, "gateway.bind wan names no address"),
    ],
)
def test_a_bind_without_an_address_says_what_mends_it(bind, custom, interfaces, said):
    with pytest.raises(NoAddress, match=said):
        resolve_bind(bind, custom, interfaces)


def test_no_bind_names_more_addresses_than_a_gateway_can_be_given():
    many = [f"100.64.0.{last}" for last in range(1, 100)]
    assert len(resolve_bind("auto", (), many)) == MAX_ADDRESSES
    assert len(resolve_bind("custom", many, ())) == MAX_ADDRESSES
    assert len(tailnet_of(many)) < MAX_ADDRESSES


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::FFFF:7f00:1", "127.0.0.1"),
        ("::127.0.0.1", "::7f00:1"),
        ("FD00:0::2", "fd00::2"),
        ("10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_an_address_has_one_form_and_a_mapped_one_is_ipv4(written, compared):
    assert unmapped(written) == compared


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0", "10.0.0.1:80"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="address"):
        unmapped(text)


def test_addresses_are_shown_as_urls_have_them():
    assert [shown("10.0.0.1", 1), shown("::1", 2)] == ["10.0.0.1:1", "[::1]:2"]
