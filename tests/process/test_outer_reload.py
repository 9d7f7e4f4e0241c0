"""What a running outer door takes over from a configuration that has changed, and who has to come again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.test_outer_door import port_of, wait_open
from tests.support.remote import Hung, Remote, converse, open_remote
from tests.support.system import System, eventually, running

OLD, NEW = "the old shared token", "the new shared token"
PAGE = "https://page.example"


def written(token: str = OLD, **gateway: Any) -> dict[str, Any]:
    auth = {"token": token, **gateway.pop("auth", {})}
    return {"gateway": {"bind": "lan", "auth": auth, **gateway}}


@pytest.fixture
def system() -> Iterator[System]:
    """Its door open on every address, over TLS."""
    with running(written()) as one:
        wait_open(one)
        yield one


def order(system: System, **asked: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port_of(system), "tls": True, "auth": {"token": OLD}, **asked}


def reload(system: System, config: dict[str, Any]) -> None:
    """Have it read another configuration, and wait until the gateway has."""
    before = system.log().count("configuration reloaded")
    system.config.write_text(json.dumps(config))
    os.kill(system.pid, signal.SIGHUP)
    eventually(lambda: system.log().count("configuration reloaded") > before, 20, every=0.02)


def paired(system: System, directory: Path) -> dict[str, Any]:
    """The order of a device that a person has approved."""
    mine = order(system, key=str(directory))
    refused = converse(mine)["refused"]
    system.call("device.pair.approve", {"requestId": refused["details"]["requestId"]})
    return mine


def enter(order: dict[str, Any]) -> tuple[Remote, dict[str, Any]]:
    remote = open_remote(order)
    answer = remote.greet(order)
    assert answer["ok"], answer
    return remote, answer["payload"]


def test_who_came_by_a_secret_that_has_changed_has_to_come_again(system: System, tmp_path: Path):
    mine = paired(system, tmp_path)
    shared, hello = enter(mine)
    by_device, _ = enter({**mine, "auth": {"deviceToken": hello["auth"]["deviceToken"]}})
    with shared, by_device, system.wire() as wire:
        reload(system, written(OLD, controlUi={"allowedOrigins": [PAGE]}))
        assert shared.call("status")["ok"], "its secret is still the one it came by"
        reload(system, written(NEW))
        hung = shared.until_closed()
        assert (hung.code, hung.text) == (4001, "gateway auth changed")
        assert by_device.call("status")["ok"], "its own token has not changed"
        assert wire.call("health")["ok"]
    assert "hello" in converse({**mine, "auth": {"token": NEW}})
    refused = converse(order(system, key=str(tmp_path / "other")))["refused"]
    assert refused["details"]["code"] == "AUTH_TOKEN_MISMATCH"


def test_pages_are_let_in_and_shut_out_without_a_restart(system: System, tmp_path: Path):
    page = {**paired(system, tmp_path), "headers": [["Origin", PAGE]]}
    for allowed in ([], [PAGE], []):
        reload(system, written(controlUi={"allowedOrigins": allowed}))
        assert ("hello" in converse(page)) == bool(allowed)


def test_the_number_of_attempts_is_changed_without_a_restart(system: System, tmp_path: Path):
    wrong = order(system, auth={"token": "a guess"})

    def is_locked_out() -> bool:
        told = converse(wrong)
        return told.get("http") == 429 or told["refused"]["details"]["code"] == "AUTH_RATE_LIMITED"

    assert [is_locked_out() for _ in range(3)] == [False] * 3, "this machine's own addresses are exempt"
    reload(system, written(auth={"rateLimit": {"maxAttempts": 4, "exemptLoopback": False}}))
    assert [is_locked_out() for _ in range(2)] == [False, True], "what was wrong before counts"


def test_a_wrong_configuration_changes_nothing_and_ends_nobody(system: System, tmp_path: Path):
    mine = paired(system, tmp_path)
    remote, _ = enter(mine)
    with remote:
        system.config.write_text(json.dumps(written(NEW, bind="nowhere")))
        os.kill(system.pid, signal.SIGHUP)
        eventually(lambda: "the configuration was not reloaded" in system.log(), 20, every=0.02)
        try:
            assert remote.call("status")["ok"]
        except Hung as hung:
            pytest.fail(f"ended: {hung}")
    assert "hello" in converse(mine)
