"""Addresses and fingerprints as people write them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.client.access import Access, is_loopback, parse_address, parse_fingerprint

DIGITS = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "name", "url", "here"),
    [
        ("wss://box.local:18789", "box.local:18789", "wss://box.local:18789", False),
        ("wss://gw.example.org", "gw.example.org:443", "wss://gw.example.org:443", False),
        ("ws://127.0.0.1:1/", "127.0.0.1:1", "ws://127.0.0.1:1", True),
        ("ws://[::1]:2/gw", "[::1]:2", "ws://[::1]:2/gw", True),
        ("wss://BOX:3", "box:3", "wss://box:3", False),
        ("ws://localhost", "localhost:80", "ws://localhost:80", True),
    ],
)
def test_an_address_is_read_and_named(text: str, name: str, url: str, here: bool):
    address = parse_address(text)
    assert (address.name, address.url, address.is_here) == (name, url, here)


@pytest.mark.parametrize("host", ["127.8.0.1", "::1", "::1%lo", "localhost", "a.localhost"])
def test_what_means_this_machine(host: str):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["128.0.0.1", "localhost.example.org", "10.0.0.1", ""])
def test_what_does_not(host: str):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "text",
    [
        DIGITS, f"sha256:{DIGITS}", f"SHA256:{DIGITS.upper()}", ":".join(DIGITS[i : i + 2] for i in range(0, 64, 2)),
        "sha256 Fingerprint=" + ":".join(DIGITS.upper()[i : i + 2] for i in range(0, 64, 2)), f" {DIGITS}\n",
    ],
    ids=["plain", "ours", "capitals", "colons", "openssl", "blanks"],
)  # fmt: skip
def test_a_fingerprint_is_read_as_others_print_it(text: str):
    assert parse_fingerprint(text) == f"sha256:{DIGITS}"


@pytest.mark.parametrize("text", ["", DIGITS[1:], f"{DIGITS}0", f"md5:{DIGITS}", "g" * 64])
def test_what_is_none_is_refused(text: str):
    with pytest.raises(ValueError, match="no fingerprint"):
        parse_fingerprint(text)


def test_secrets_are_not_part_of_what_is_printed():
    assert "hush" not in repr(Access(token="hush", password="hush", setup="hush"))


def test_a_client_of_a_unix_door_loads_nothing_of_the_network():
    code = "import sys, gateway.client; print(*sorted(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(ended.stdout.split())
    assert "gateway.link.unix" in loaded
    heavy = {"cryptography", "trio_websocket", "wsproto", "h11", "gateway.link.websocket", "gateway.client.remote"}
    assert heavy & loaded == set()
