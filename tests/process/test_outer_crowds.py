"""A crowd at the outer door: noise, half-open handshakes, port probes. It costs those who come by the Unix doors
milliseconds, ends nobody, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from tests.support.identity import config as errands
from tests.support.identity import started
from tests.support.lan import BOX, HAS_NETWORKS, NEEDS_NETWORKS, Lan, two_hosts
from tests.support.remote import PROGRAM, Hung, Remote, converse, open_remote, upgrade
from tests.support.system import System, eventually

TOKEN = "stolen by everybody"
PORT = 18789


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    if not HAS_NETWORKS:
        pytest.skip(NEEDS_NETWORKS)
    with two_hosts() as made:
        yield made


@pytest.fixture(scope="module")
def system(lan: Lan) -> Iterator[System]:
    """Mode token, TLS, on every address."""
    gateway = {"port": PORT, "bind": "lan", "auth": {"token": TOKEN}}
    with started(errands("errand", gateway=gateway), wrapper=lan.at(lan.box)) as one:
        yield one


def order(**more: Any) -> dict[str, Any]:
    return {"host": BOX, "port": PORT, "tls": True, "auth": {"token": TOKEN}, **more}


def from_phone(lan: Lan, wanted: dict[str, Any]) -> dict[str, Any]:
    return lan.on(lan.phone, lambda: converse(wanted))


NOISE_SECONDS = 2.0
CROWD = 1000


def quickness(system: System, seconds: float, stop: Callable[[], object] = lambda: None) -> list[float]:
    """Milliseconds that `health` took over the Unix door, on connections of their own, for so long."""
    took: list[float] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.monotonic()
        system.call("health")
        took.append((time.monotonic() - began) * 1000)
        stop()
    return took


NOISE = """
import os, random, socket, ssl, sys, time
host, port, seconds, tls, upgrade = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "1", sys.argv[5]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
chance, made, until = random.Random(7), 0, time.monotonic() + seconds
head = upgrade.encode().decode("unicode_escape").encode("latin-1")
while time.monotonic() < until:
    try:
        sock = socket.create_connection((host, port), 2); sock.settimeout(0.05)
        if tls and chance.random() < 0.9: sock = context.wrap_socket(sock)
        start = chance.choice([b"", b"GET ", b"GET / HTTP/1.1\\r\\n", b"\\x16\\x03\\x01", head, head, head])
        if start == head and chance.random() < 0.5:
            start = bytearray(head); start[chance.randrange(len(start))] = chance.randrange(256)
        sock.sendall(bytes(start) + chance.randbytes(chance.choice([0, 1, 7, 200, 5000])))
        if chance.random() < 0.5: sock.recv(4096)
        if start == head: sock.sendall(bytes([chance.choice([0x81, 0x88, 0x89, 0x01, 0xf3, 0x82])]) +
            chance.randbytes(chance.choice([1, 9, 130])))
        made += 1; sock.close()
    except OSError:
        pass
print(made)
"""


def noise(lan: Lan, seconds: float, *, tls: bool) -> subprocess.Popen[str]:
    """Somebody on the phone who sends what comes to mind."""
    words = [*lan.at(lan.phone), PROGRAM[0], "-I", "-c", NOISE, BOX, str(PORT), str(seconds), "1" if tls else "0"]
    head = upgrade(f"{BOX}:{PORT}").decode().replace("\r", "\\r").replace("\n", "\\n")
    return subprocess.Popen([*words, head], stdout=subprocess.PIPE, text=True)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_noise_at_the_port_ends_nobody_and_slows_no_one_inside(system: System, lan: Lan, tls: bool):
    gateway, before = system.gateway_pid(), descriptors(system.gateway_pid())
    with noise(lan, NOISE_SECONDS, tls=tls) as noisy:
        took = quickness(system, NOISE_SECONDS)
        made = int(noisy.communicate(timeout=20)[0])
    print(f"noise tls={tls}: {made} connections, health p50 {statistics.median(took):.1f} ms, max {max(took):.1f} ms")
    assert made > 20
    assert statistics.median(took) < 100
    assert system.gateway_pid() == gateway
    assert from_phone(lan, order())["refused"]["code"] == "NOT_PAIRED"
    assert "Traceback" not in system.log()
    eventually(lambda: descriptors(gateway) <= before + 2, 15)


def test_a_thousand_half_open_handshakes_do_not_slow_the_command_line(system: System, lan: Lan):
    def crowd() -> list[socket.socket]:
        made = []
        for _ in range(CROWD):
            sock = socket.socket()
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect((BOX, PORT))
            made.append(sock)
        return made

    with ExitStack() as stack:
        for sock in lan.on(lan.phone, crowd):
            stack.enter_context(sock)
            with suppress(OSError):
                sock.sendall(b"\x16\x03\x01\x02")  # the first bytes of a TLS hello, and no more
        took = quickness(system, 1.0)
        began = time.monotonic()
        assert system.cli("health").returncode == 0
        alone = (time.monotonic() - began) * 1000
    middle = statistics.median(took)
    print(f"half open: health p50 {middle:.1f} ms, max {max(took):.1f} ms; the command line {alone:.0f} ms")
    assert middle < 100
    eventually(lambda: "refused" in from_phone(lan, order()), 20)


def test_a_thousand_probes_leave_nothing_behind(system: System, lan: Lan):
    gateway, before = system.gateway_pid(), descriptors(system.gateway_pid())

    def probe() -> None:
        for number in range(CROWD):
            with socket.create_connection((BOX, PORT), 5) as sock:
                if number % 3 == 0:
                    sock.sendall(b"x")
                if number % 3 == 1:
                    sock.shutdown(socket.SHUT_WR)

    lan.on(lan.box, probe)
    eventually(lambda: descriptors(gateway) <= before + 2, 15)
    assert system.call("status")["gateway"]["connections"] <= 2
    assert from_phone(lan, order())["refused"]["code"] == "NOT_PAIRED"


def test_a_crowd_of_one_address_keeps_nobody_else_out(system: System, lan: Lan):
    def crowd() -> list[Remote | None]:
        return [quietly(lambda: open_remote(order())) for _ in range(40)]

    remotes = [one for one in lan.on(lan.phone, crowd) if one is not None]
    statuses = [one.status for one in remotes]
    assert 101 in statuses
    assert statuses.count(503) >= 8
    (full,) = {one.body for one in remotes if one.status == 503}
    assert b"Too many unauthenticated sockets" in full
    assert lan.on(lan.box, lambda: converse(order()))["refused"], "from another address"
    for one in remotes:
        one.sock.close()


def quietly(do: Callable[[], Remote]) -> Remote | None:
    try:
        return do()
    except (OSError, Hung):
        return None
