"""A disk that is full or cannot be written, under a real system: what is refused and how, what goes on, what comes
back."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.disks import Ext4, ext4, fill, tmpfs
from tests.support.system import Answer, System, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts disks")


@pytest.fixture
def system() -> Iterator[System]:
    """Not started; whatever it stands on is unmounted before it is removed."""
    system = System({"logging": {"level": "info"}})
    try:
        yield system
    finally:
        print(system.log(), file=sys.stderr)
        system.remove()


def send(system: System, key: str, text: str = "hello") -> dict[str, Any]:
    answer: dict[str, Any] = system.call("agent", {"agentId": "main", "message": text, "idempotencyKey": key})
    return answer


def result(system: System, key: str) -> dict[str, Any]:
    answer: dict[str, Any] = system.call("agent.wait", {"runId": key, "timeoutMs": 20_000})
    return answer


def send_until_refused(system: System, name: str) -> tuple[list[str], dict[str, Any]]:
    """Keys of what was accepted, and the refusal."""
    accepted: list[str] = []
    for number in range(500):
        try:
            send(system, f"{name}{number}", "x" * 4000)
        except Answer as answer:
            return accepted, answer.shape
        accepted.append(f"{name}{number}")
    raise AssertionError("500 messages of 4 kB fit a disk of 6 MB")


def said_by_the_user(system: System) -> list[str]:
    """Runs in the transcript, oldest first."""
    told = system.call("chat.history", {"sessionKey": "agent:main:main", "limit": 1000})
    return [message["runId"] for message in told["messages"] if message["role"] == "user"]


def unit(system: System) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((system.runtime / "status.json").read_text())["gateway"]
    return found


def test_a_full_disk_refuses_new_work_answers_reads_and_recovers_by_itself(system: System):
    with tmpfs(system.state):
        system.start()
        gateway = system.gateway_pid()
        send(system, "first")
        assert result(system, "first")["status"] == "ok"
        fill(system.state / "ballast")
        accepted, refused = send_until_refused(system, "during")
        assert refused["code"] == "UNAVAILABLE"
        assert refused["retryable"]
        assert "the disk that holds the state directory is full" in refused["message"]
        assert f"{system.state}: 0.0 MiB free" in refused["message"]
        assert refused["details"] == {"cause": "full", "path": str(system.state), "freeBytes": 0}
        assert "first" in said_by_the_user(system)
        health = system.call("health")
        assert not health["ok"]
        assert "is full" in health["database"]["trouble"]
        told = system.cli("health")
        assert (told.returncode, system.cli("health", "--alive").returncode) == (1, 0)
        assert "NOT WELL" in told.stdout
        assert "is full" in told.stdout
        (system.state / "ballast").unlink()
        eventually(lambda: system.call("health")["ok"])
        send(system, "after")
        for key in [*accepted, "after"]:
            assert result(system, key)["status"] == "ok", key
        assert said_by_the_user(system) == ["first", *accepted, "after"]
        assert system.gateway_pid() == gateway
        assert system.stop() == 0


def test_a_copy_for_which_there_is_no_room_says_where_to_make_some(system: System):
    saved = str(system.directory / "saved.db")
    with tmpfs(system.state):
        system.start()
        assert system.stop() == 0
        assert system.cli("backup", saved).returncode == 0
        fill(system.state / "ballast")
        for words in (("restore", saved), ("backup", f"{system.state}/b.db"), ("recover", f"{system.state}/r.db")):
            told = system.cli(*words)
            assert told.returncode == 1
            assert told.stderr.endswith(f"the disk is full; make room in {system.state} (0.0 MiB free)\n"), words
        (system.state / "ballast").unlink()
        assert system.cli("restore", saved).returncode == 0


def test_a_start_on_a_read_only_disk_says_how_to_mend_that(system: System):
    with tmpfs(system.state):
        system.start()
        assert system.stop() == 0
        subprocess.run(["mount", "-o", "remount,ro", str(system.state)], check=True)
        ended = system.cli("up")
    assert ended.returncode == 1
    told = "Read-only file system; mount the file system it is on writable, or name another with --state-dir"
    assert f"{system.state} cannot be used: {told}" in ended.stderr


def test_a_gateway_that_dies_on_a_full_disk_waits_for_room_and_says_so(system: System):
    with tmpfs(system.state):
        system.start()
        send(system, "first")
        result(system, "first")
        fill(system.state / "ballast")
        accepted, _ = send_until_refused(system, "during")
        os.kill(system.gateway_pid(), 9)
        waits = eventually(lambda: unit(system).get("waitsFor"))
        assert "the disk that holds the state directory is full" in waits
        told = system.cli("health")
        assert told.returncode == 69
        assert "is full" in told.stderr
        assert unit(system)["starts"] == 2
        (system.state / "ballast").unlink()
        eventually(lambda: system.cli("health").returncode == 0, 30)
        assert unit(system)["starts"] == 2
        send(system, "after")
        for key in [*accepted, "after"]:
            assert result(system, key)["status"] == "ok", key
        assert said_by_the_user(system) == ["first", *accepted, "after"]
        assert system.stop() == 0


def test_a_gateway_that_waits_for_room_leaves_at_the_first_word(system: System):
    with tmpfs(system.state):
        system.start()
        fill(system.state / "ballast")
        os.kill(system.gateway_pid(), 9)
        eventually(lambda: unit(system).get("waitsFor"))
        began = time.monotonic()
        assert system.stop() == 0
        assert time.monotonic() - began < 2  # the supervisor would kill it after 3 s
        told = system.log()
        assert "the gateway ended: exit code 0" in told
        assert "the gateway did not stop in time" not in told


def test_systemd_waits_with_a_start_that_waits_for_room(system: System, monkeypatch: pytest.MonkeyPatch):
    with tmpfs(system.state), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(system.directory / "notify"))
        listener.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(system.directory / "notify"))
        fill(system.state / "ballast")
        starting = threading.Thread(target=system.start)
        starting.start()
        extend, status = listener.recv(4096).decode().split("\n")
        assert extend.startswith("EXTEND_TIMEOUT_USEC=")
        assert status.startswith("STATUS=waiting: ")
        assert "the disk that holds the state directory is full" in status
        (system.state / "ballast").unlink()
        while "READY=1" not in (told := listener.recv(4096).decode()):
            assert "EXTEND_TIMEOUT_USEC=" in told
        starting.join()
        assert system.stop() == 0


def test_a_disk_that_turns_read_only_refuses_answers_and_keeps_what_was_acknowledged(system: System):
    with ext4(system.directory / "disk.img", system.state) as disk:
        _use_a_disk_that_turns_read_only(system, disk)


def _use_a_disk_that_turns_read_only(system: System, disk: Ext4) -> None:
    system.start()
    for number in range(5):
        send(system, f"kept{number}")
        assert result(system, f"kept{number}")["status"] == "ok"
    gateway = system.gateway_pid()
    disk.turn_read_only()
    with pytest.raises(Answer, match="is mounted read-only; mount it writable") as refused:
        send(system, "refused")
    assert refused.value.shape["details"]["cause"] == "readonly"
    assert len(said_by_the_user(system)) == 5
    assert system.gateway_pid() == gateway
    os.kill(gateway, 9)
    assert "read-only" in eventually(lambda: unit(system).get("waitsFor"))
    system.stop()
    disk.mend()
    system.start()
    assert said_by_the_user(system) == [f"kept{number}" for number in range(5)]
    send(system, "after")
    assert result(system, "after")["status"] == "ok"
    assert system.stop() == 0
