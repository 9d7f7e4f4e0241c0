"""Who holds the peer's end of a connection to the outer door: real programs inside and outside, and tricks of theirs.

Each script dials the door and asks the tiny gateway, on that very connection, what the supervisor says of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import eventually
from tests.support.tiny_system import Tiny, tiny

SYS_EXIT = 60 if os.uname().machine == "x86_64" else 93
DIAL = """
import array, ctypes, json, os, socket, sys, threading, time
def dial():
    return socket.create_connection((HOST, PORT))
def ask(s, wait=0):
    s.sendall(json.dumps({"do": "holder", "wait": wait}).encode() + b"\\n")
def answer(s):
    with s.makefile() as lines: told = lines.readline()
    with open(OUT + ".part", "w") as file: file.write(told)
    os.rename(OUT + ".part", OUT)
"""
PLAIN = "s = dial(); ask(s); answer(s)"
IN_FLIGHT = """
s = dial(); ask(s, wait=0.5)
left, right = socket.socketpair()
socket.send_fds(left, [b"x"], [s.fileno()]); s.close()
time.sleep(1)
_, fds, _, _ = socket.recv_fds(right, 1, 1)
answer(socket.socket(fileno=fds[0]))
"""
THREAD = """
def alone():
    assert ctypes.CDLL(None).unshare(0x400) == 0  # CLONE_FILES
    s = dial(); ask(s); answer(s)
one = threading.Thread(target=alone); one.start(); one.join()
"""
MAIN_GONE = """
def later():
    time.sleep(0.3)
    s = dial(); ask(s); answer(s)
threading.Thread(target=later).start()
ctypes.CDLL(None).syscall(EXIT, 0)
"""
GIVEN_AWAY = """
s = dial(); ask(s, wait=0.5)
with socket.socket(socket.AF_UNIX) as friend:
    friend.connect(FRIEND); socket.send_fds(friend, [b"x"], [s.fileno()])
time.sleep(1); answer(s)
"""
UNDUMPABLE = "ctypes.CDLL(None).prctl(4, 0); s = dial(); ask(s); answer(s)"
DAEMON = "os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); " + PLAIN


class Place:
    """A system whose agents run a script that the test writes once the door's port is known."""

    def __init__(self, system: Tiny, directory: Path) -> None:
        self.system, self.directory = system, directory
        self.port = int(system.status()["addresses"][0].rpartition(":")[2])
        self.out = directory / "verdict"

    def script(self, name: str, code: str, host: str = "127.0.0.1", **values: Any) -> Path:
        self.out.unlink(missing_ok=True)
        values |= {"host": host, "port": self.port, "out": str(self.out), "exit": SYS_EXIT}
        names = "".join(f"{key.upper()} = {value!r}\n" for key, value in values.items())
        place = self.directory / f"{name}.py"
        place.write_text(names + DIAL + code)
        return place

    def verdict(self) -> dict[str, Any]:
        eventually(self.out.exists, 20)
        told: dict[str, Any] = json.loads(self.out.read_text())
        return told

    def inside(self, agent: str, code: str, **values: Any) -> dict[str, Any]:
        """What is said of a connection that an agent made, by a program of its own or itself."""
        self.script(agent, code, **values)
        spawned = self.system.spawn(agent)
        try:
            return self.verdict()
        finally:
            self.system.ask("stop", spawn=spawned["spawn"], reason="asked", grace=0)
            self.system.wait_for_note("Exited", spawn=spawned["spawn"])

    def outside(self, code: str, *wrapper: str, **values: Any) -> dict[str, Any]:
        """The same of a program that a person started."""
        command = [*wrapper, sys.executable, "-I", str(self.script("outside", code, **values))]
        subprocess.run(command, check=True, timeout=20)
        return self.verdict()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("scripts")
    entries = {
        name: {"runtime": {"type": "command", "argv": [name, str(directory / f"{name}.py")]}}
        for name in ("errand", "itself")
    }
    config = {"agents": {"entries": entries}, "supervisor": {"heartbeatSeconds": 1}, "gateway": {"bind": "loopback"}}
    with tiny(config) as system:
        yield Place(system, directory)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_program_a_person_started_is_outside_with_its_account(place: Place, host: str):
    told = place.outside(PLAIN, host=host)
    assert (told["kind"], told["uid"], len(told["pids"])) == ("outside", os.geteuid(), 1)
    assert told["cookie"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_program_an_agent_started_is_ours_and_named(place: Place, host: str):
    told = place.inside("errand", PLAIN, host=host)
    assert (told["kind"], told["agent"], told["session"]) == ("ours", "errand", "agent:errand:main")


@pytest.mark.parametrize(
    "code", [THREAD, MAIN_GONE, UNDUMPABLE, DAEMON], ids=["thread", "main-gone", "undumpable", "daemon"]
)
def test_a_program_of_an_agents_that_hides_is_never_outside(place: Place, code: str):
    assert place.inside("errand", code)["kind"] in ("ours", "unknown")


def test_a_thread_with_descriptors_of_its_own_is_found(place: Place):
    assert place.inside("errand", THREAD)["kind"] == "ours"


def test_a_worker_itself_is_ours_or_cannot_be_looked_into(place: Place):
    assert place.inside("itself", PLAIN)["kind"] in ("ours", "unknown")


def test_a_socket_in_flight_is_nobodys_and_so_unknown(place: Place):
    told = place.inside("errand", IN_FLIGHT)
    assert (told["kind"], told["pids"]) == ("unknown", [])
    assert "nobody was found" in told["detail"]


def test_a_socket_shared_with_somebody_outside_is_ours(place: Place, tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as friend:
        friend.bind(str(tmp_path / "friend"))
        friend.listen()
        received: list[int] = []

        def accept() -> None:
            connection, _ = friend.accept()
            with connection:
                received.extend(socket.recv_fds(connection, 1, 1)[1])

        thread = threading.Thread(target=accept)
        thread.start()
        told = place.inside("errand", GIVEN_AWAY, friend=str(tmp_path / "friend"))
        thread.join()
        os.close(received[0])
    assert told["kind"] == "ours"
    assert len(told["pids"]) == 2
    assert os.getpid() in told["pids"]


def test_a_process_of_another_pid_namespace_has_no_account_here(place: Place):
    if os.geteuid() != 0:
        pytest.skip("needs user namespaces, or root, for a PID namespace")
    told = place.outside(PLAIN, "unshare", "--pid", "--fork")
    assert (told["kind"], told["uid"]) == ("outside", -1)


ELSEWHERE = """
import os, socket, subprocess, sys
from supervisor import diag, netlink
from supervisor.holders import Holders
from supervisor.messages import WhoHolds
from supervisor.spawn import SpawnTable
from supervisor.whois import Whois
run = lambda *words: subprocess.run(words, check=True)
run("ip", "link", "set", "lo", "up")
run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
ready = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; read line; ip link set lo up; ip addr add 10.9.0.2/24 "
    "dev far; ip link set far up; exec " + sys.executable + " -c 'import socket; s = socket.socket(); "
    's.bind(("10.9.0.2", 2222)); s.settimeout(10); s.connect(("10.9.0.1", 18789)); s.recv(1)\\''],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
ready.stdout.readline()
run("ip", "link", "set", "far", "netns", str(ready.pid))
run("ip", "addr", "add", "10.9.0.1/24", "dev", "near")
run("ip", "link", "set", "near", "up")
decoy = socket.create_server(("0.0.0.0", 2222))
server = socket.create_server(("10.9.0.1", 18789))
server.settimeout(10)
ready.stdin.write(b"go\\n"); ready.stdin.flush()
accepted, peer = server.accept()
ours = accepted.getsockname()
print([one.state for one in diag.answers(peer, ours)], netlink.is_local(peer[0]))
print(Holders(Whois(SpawnTable(), 0), None).decide([WhoHolds(1, *ours, *peer)])[0].kind)
accepted.send(b"x"); ready.wait(10)
"""


def test_a_listener_here_on_the_port_of_a_peer_far_away_makes_it_nothing_but_remote():
    if os.geteuid() != 0:
        pytest.skip("needs user namespaces, or root, for networks of one's own")
    command = ["unshare", "--net", sys.executable, "-I", "-c", ELSEWHERE]
    told = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.split("\n")[:2] == ["[10] False", "remote"]
