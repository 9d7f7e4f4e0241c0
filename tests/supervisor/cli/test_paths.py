"""Where commands look, in every combination of flag, variable, uid and what exists."""

from __future__ import annotations

import pytest

from supervisor.cli import paths


@pytest.mark.parametrize(
    ("flag", "environ", "uid", "expected"),
    [
        ("/f", {"PEERGATE_RUNTIME_DIR": "/e"}, 0, "/f"),
        (None, {"PEERGATE_RUNTIME_DIR": "/e"}, 0, "/e"),
        (None, {}, 0, "/run/peergate"),
        (None, {"XDG_RUNTIME_DIR": "/run/user/5"}, 5, "/run/user/5/peergate"),
        (None, {"XDG_RUNTIME_DIR": "relative"}, 5, "/tmp/peergate-5"),
        (None, {}, 5, "/tmp/peergate-5"),
    ],
)
def test_the_runtime_directory(flag: str | None, environ: dict[str, str], uid: int, expected: str):
    assert paths.runtime_dir(flag, environ, uid) == expected


@pytest.mark.parametrize(
    ("flag", "environ", "uid", "expected"),
    [
        ("/f", {"PEERGATE_STATE_DIR": "/e"}, 0, "/f"),
        (None, {"PEERGATE_STATE_DIR": "/e"}, 0, "/e"),
        (None, {"HOME": "/root"}, 0, "/var/lib/peergate"),
        (None, {"HOME": "/h"}, 5, "/h/.local/state/peergate"),
        (None, {"HOME": "/h", "XDG_STATE_HOME": "/s"}, 5, "/s/peergate"),
    ],
)
def test_the_state_directory(flag: str | None, environ: dict[str, str], uid: int, expected: str):
    assert paths.state_dir(flag, environ, uid) == expected


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({"PEERGATE_CONFIG": "/c.toml"}, 0, "/c.toml"),
        ({}, 0, "/etc/peergate/peergate.toml"),
        ({"HOME": "/h"}, 5, "/h/.config/peergate/peergate.toml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}, 5, "/x/peergate/peergate.toml"),
    ],
)
def test_where_init_writes(environ: dict[str, str], uid: int, expected: str):
    assert paths.new_config_file(None, environ, uid) == expected


def test_a_user_without_a_system_of_their_own_finds_roots():
    def roots_alone(path: str) -> bool:
        return path == "/run/peergate"

    assert paths.running_dir(None, {}, 5, roots_alone) == "/run/peergate"
    assert paths.running_dir(None, {}, 5, lambda _: True) == "/tmp/peergate-5"
    assert paths.running_dir("/f", {}, 5, roots_alone) == "/f"


def test_an_agents_own_socket_comes_first_unless_another_system_was_named():
    inside = {"PEERGATE_SOCKET": "/r/agents.sock", "PEERGATE_RUNTIME_DIR": "/r"}
    assert paths.doors(None, inside, 5) == ["/r/agents.sock", "/r/operator.sock"]
    assert paths.doors("/other", inside, 5) == ["/other/operator.sock", "/other/agents.sock"]
    assert paths.doors(None, {"PEERGATE_RUNTIME_DIR": "/r"}, 5) == ["/r/operator.sock", "/r/agents.sock"]
