"""`peergate qr`: a setup code in letters and as a picture that a reader can read."""

from __future__ import annotations

import subprocess
import sys

import pytest
import segno

from supervisor.cli.qr import draw, picture
from tests.supervisor.cli.support import Shell, answering
from tests.support.fake_door import FakeDoor, No

TOLD = {
    "setupId": "s", "setupCode": "eyJ1cmwi", "gatewayUrl": "wss://10.0.0.1:18789", "access": "limited",
    "gatewayUrls": ["wss://10.0.0.1:18789", "wss://box:18789"], "expiresAtMs": 1_700_000_000_000,
}  # fmt: skip


def test_the_code_its_addresses_and_what_it_allows_are_told(peergate: Shell):
    with FakeDoor(peergate.runtime, {"device.pair.setupCode": answering(TOLD)}) as door:
        told = peergate("qr", "--public-url", "wss://x", "--profile", "limited")
        assert peergate("qr", "--json").document == TOLD
    assert door.calls("device.pair.setupCode") == [
        {"bootstrapProfile": "limited", "includeQr": False, "publicUrl": "wss://x"},
        {"bootstrapProfile": "limited", "includeQr": False},
    ]
    assert picture("eyJ1cmwi") in told.out
    assert "setup code: eyJ1cmwi" in told.out
    assert "wss://10.0.0.1:18789, wss://box:18789" in told.out
    assert "limited: read, write, decide approvals" in told.out
    assert "for the first device that uses it" in told.out


def test_a_code_that_gives_less_than_asked_for_says_so(peergate: Shell):
    with FakeDoor(peergate.runtime, {"device.pair.setupCode": answering({**TOLD, "accessDowngraded": True})}):
        assert "full access needs wss://" in peergate("qr", "--profile", "full").out


def test_without_an_outer_door_the_reason_is_told(peergate: Shell):
    def refuse(_: object) -> object:
        raise No("UNAVAILABLE", "there is no outer door")

    with FakeDoor(peergate.runtime, {"device.pair.setupCode": refuse}):
        ended = peergate("qr")
    assert (ended.code, "there is no outer door" in ended.err) == (1, True)


@pytest.mark.parametrize("rows", [[[1, 0], [0, 1]], [[1, 1], [0, 0]], [[1, 0]]])
def test_every_module_is_drawn(rows: list[list[int]]):
    halves = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}
    read: list[list[int]] = []
    for line in draw(rows).split("\n"):
        read += [[halves[letter][half] for letter in line] for half in (0, 1)]
    assert read[: len(rows)] == rows


def test_the_picture_is_the_code():
    modules = [list(row) for row in segno.make("hello", error="l").matrix_iter(border=2)]
    assert draw(modules) == picture("hello")


@pytest.mark.parametrize("command", ["qr", "devices", "audit"])
def test_what_draws_pictures_is_loaded_for_a_picture_only(command: str):
    code = f"import sys; sys.argv[1:] = ['{command}', '--runtime-dir', '/nowhere']\n"
    code += "from supervisor.cli import run\nrun()\n"
    code += "print(sorted({'segno', 'trio', 'cryptography', 'h11', 'trio_websocket'} & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "[]\n"
