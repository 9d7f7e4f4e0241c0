"""What systemd is told: real datagrams to a socket of our own."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from supervisor.notify import AGAIN_SECONDS, EXTEND_SECONDS, Notifier, watchdog_interval


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_interval_is_half_of_what_is_allowed_and_leaves_no_variable(environment: dict[str, str], interval):
    assert watchdog_interval(environment, 7) == interval
    assert environment == {}


@pytest.mark.parametrize("abstract", [False, True])
def test_each_word_is_one_datagram(tmp_path: Path, abstract: bool):
    address = f"@peergate-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(address.replace("@", "\0"))
    environment = {"NOTIFY_SOCKET": address, "PATH": "/bin"}
    notifier = Notifier(environment)
    assert environment == {"PATH": "/bin"}
    notifier.reloading()  # nothing: there is nothing yet that could be ready again
    notifier.reloaded()
    notifier.ready("fine")
    notifier.reloading()
    assert listener.recv(200).startswith(b"READY=1\nSTATUS=fine")
    assert listener.recv(200).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    notifier.reloaded()
    notifier.status("busy")
    notifier.pet()
    notifier.stopping("bye")
    assert [listener.recv(200) for _ in range(4)] == [
        b"READY=1\nSTATUS=ready", b"STATUS=busy", b"WATCHDOG=1", b"STOPPING=1\nSTATUS=bye",
    ]  # fmt: skip
    notifier.reloading()
    notifier.reloaded()
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.recv(200)
    listener.close()
    assert notifier.send("READY=1") is False  # systemd is gone: no reason to fail
    notifier.close()


def test_a_start_that_waits_asks_for_time_and_says_what_for(tmp_path: Path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.setblocking(False)
    now = [100.0]
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}, lambda: now[0])

    def told() -> list[bytes]:
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(listener.recv(500))
        return found

    more = b"EXTEND_TIMEOUT_USEC=30000000\nSTATUS=waiting: "
    notifier.waiting("the disk is full")
    notifier.waiting("the disk is full")  # each second, but systemd has time
    assert told() == [more + b"the disk is full"]
    notifier.waiting("another one has\nREADY=1 the lock")
    assert told() == [more + b"another one has READY=1 the lock"]
    now[0] += AGAIN_SECONDS
    notifier.waiting("another one has\nREADY=1 the lock")
    assert len(told()) == 1
    assert AGAIN_SECONDS < EXTEND_SECONDS / 2
    notifier.ready("fine")
    notifier.waiting("the disk is full again")
    assert told() == [b"READY=1\nSTATUS=fine"]  # it has started: nothing runs out any more
    listener.close()
    notifier.close()


def test_a_stop_takes_no_longer_because_the_start_was_waiting(tmp_path: Path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    notifier.stopping("stopping")
    notifier.waiting("the disk is full")
    notifier.status("last")
    assert [listener.recv(500) for _ in range(2)] == [b"STOPPING=1\nSTATUS=stopping", b"STATUS=last"]
    listener.close()
    notifier.close()


def test_without_systemd_nothing_happens():
    notifier = Notifier({})
    assert notifier.send("READY=1") is False
    notifier.close()
