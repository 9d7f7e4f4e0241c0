"""By which names the gateway may be called, and from which pages."""

from __future__ import annotations

import pytest

from gateway.auth.origin import is_allowed_origin, is_our_host, misdirected, names_from, normalise_origin, origins_from

LOOPBACK = names_from(["127.0.0.1", "::1"], ["Box.Example.", "*.wild.example", "198.51.100.7", "2001:DB8::7"])
LAN = names_from(["0.0.0.0", "::"], ["box.example"])
ONE = names_from(["192.0.2.5"], [])


@pytest.mark.parametrize(
    ("host", "loopback", "lan", "one"),
    [
        # Host                          loopback  lan    one address
        ("127.0.0.1:18789",             True,     True,  False),
        ("127.0.0.1",                   True,     True,  False),
        ("[::1]:18789",                 True,     True,  False),
        ("[::ffff:127.0.0.1]:1",        True,     True,  False),
        ("localhost:18789",             True,     True,  False),
        ("LOCALHOST.",                  True,     True,  False),
        ("0.0.0.0:18789",               False,    False, False),
        ("[::]:18789",                  False,    False, False),
        ("[::ffff:0.0.0.0]",            False,    False, False),
        ("0",                           False,    False, False),
        ("192.0.2.5:18789",             False,    True,  True),
        ("[::ffff:192.0.2.5]",          False,    True,  True),
        ("192.0.2.6",                   False,    False, False),
        ("box.example:443",             True,     True,  False),
        ("BOX.example.",                True,     True,  False),
        ("a.wild.example",              True,     False, False),
        ("a.b.wild.example",            False,    False, False),
        ("wild.example",                False,    False, False),
        ("198.51.100.7:18789",          True,     False, False),
        ("[2001:db8::7]",               True,     False, False),
        ("attacker.example",            False,    False, False),
        ("localhost.attacker.example",  False,    False, False),
        ("box.example@attacker",        False,    False, False),
        ("box.example/x",               False,    False, False),
        ("box.example:port",            False,    False, False),
        ("[fe80::1%eth0]",              False,    False, False),
        ("2130706433",                  False,    False, False),
        ("",                            False,    False, False),
        (None,                          False,    False, False),
    ],
)  # fmt: skip
def test_a_host_header(host: str | None, loopback: bool, lan: bool, one: bool):
    assert is_our_host(host, "127.0.0.1", LOOPBACK) is loopback
    assert is_our_host(host, "192.0.2.5", LAN) is lan
    assert is_our_host(host, "192.0.2.5", ONE) is one


def test_a_wrong_name_is_told_what_would_make_it_right():
    assert "gateway.hostNames" in misdirected("x.example")
    assert len(misdirected("x" * 10_000)) < 300


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://Box.Example", "https://box.example"),
        ("https://box.example:443", "https://box.example"),
        ("http://box.example:80", "http://box.example"),
        ("https://box.example:80", "https://box.example:80"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("tauri://localhost", "tauri://localhost"),
        ("null", None),
        ("*", None),
        ("", None),
        ("https://", None),
        ("https://a.example/", None),
        ("https://a.example/path", None),
        ("https://u@a.example", None),
        ("https://a.example https://b.example", None),
        ("https://" + "a" * 600, None),
    ],
)
def test_an_origin_as_it_is_compared(text: str, origin: str | None):
    assert normalise_origin(text) == origin


ALLOWED = origins_from(["https://ui.example", "http://localhost:3000", "*", "null"])


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        (None, True),
        ("https://ui.example", True),
        ("https://UI.example:443", True),
        ("http://localhost:3000", True),
        ("http://localhost:3001", False),
        ("http://localhost", False),
        ("http://ui.example", False),
        ("https://ui.example:8443", False),
        ("https://ui.example.attacker.example", False),
        ("https://box.example:18789", False),
        ("http://127.0.0.1:18789", False),
        ("null", False),
        ("*", False),
        ("", False),
    ],
)
def test_a_page_of_an_origin(origin: str | None, may: bool):
    assert is_allowed_origin(origin, ALLOWED) is may
