"""What the outer door says of where it can be reached."""

from __future__ import annotations

import pytest

from gateway import outside
from gateway.listen import certificate


@pytest.mark.parametrize(
    ("ends", "names", "tls", "urls"),
    [
        ([("127.0.0.1", 1), ("::1", 1)], [], False, ["ws://127.0.0.1:1", "ws://[::1]:1"]),
        ([("127.0.0.1", 1)], ["box.lan"], False, ["ws://box.lan:1"]),
        ([("192.0.2.7", 1), ("127.0.0.1", 1)], [], True, ["wss://192.0.2.7:1"]),
        ([("0.0.0.0", 1), ("::", 1)], ["box.lan"], True, ["wss://box.lan:1", "wss://192.0.2.9:1", "wss://[fd00::9]:1"]),
    ],
    ids=["loopback", "forwarded", "one-address", "every-address"],
)
def test_a_setup_code_names_what_a_device_can_dial(
    ends: list[tuple[str, int]], names: list[str], tls: bool, urls: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(certificate, "interface_addresses", lambda: ["127.0.0.1", "192.0.2.9", "::1", "fd00::9"])
    assert outside.urls_of(ends, names, tls=tls) == urls
