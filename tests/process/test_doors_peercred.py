"""What the kernel says of real processes: other uids, other namespaces, the dead, borrowed sockets, older kernels."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.auth.facts import PeerFacts
from gateway.auth.peercred import prepare_accepted, prepare_listener, read_peer
from gateway.link.base import OtherSender
from gateway.link.unix import UnixLink
from gateway.protocol.frames import pack
from tests.support import peers

SECONDS = 20
OTHER_UID = 54321
NEW_PID_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child"]


@contextmanager
def listening(path: Path, *, prepared: bool = True) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        listener.settimeout(SECONDS)
        if prepared:
            prepare_listener(listener)
        yield listener


@contextmanager
def running(script: str, *args: str, wrap: list[str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """One of the small programs of `tests.support.peers`, ended with the block; it lives while its standard input
    does."""
    command = [*(wrap or []), sys.executable, "-I", peers.__file__, script, *args]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            if process.stdin:
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()


def said_by(process: subprocess.Popen[bytes]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"it said nothing and ended with {process.wait(SECONDS)}"
    return json.loads(line)


def look_at(sock: socket.socket) -> PeerFacts:
    facts = read_peer(sock)
    if facts.pidfd is not None:
        os.close(facts.pidfd)
    return facts


@pytest.fixture
def street() -> Iterator[Path]:
    """A directory every uid may enter, because pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="peergate-doors-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_process_like_any_other(street: Path):
    with listening(street / "s") as listener, running("visit", str(street / "s")) as visitor:
        with listener.accept()[0] as sock:
            said = said_by(visitor)
            facts = look_at(sock)
    assert (facts.pid, facts.uid, facts.gid) == (said["pid"], os.geteuid(), os.getegid())
    assert facts.nspid == (said["pid"],)
    assert facts.start == said["start"]
    assert (facts.dead, facts.legacy) == (False, False)
    assert facts.pidfd is not None


def test_another_uid_with_groups_of_its_own(street: Path):
    groups = list(range(40_000, 40_000 + 500))  # more than fit into Python's getsockopt
    identity = (",".join(map(str, groups)), "777", str(OTHER_UID))
    with listening(street / "s") as listener, running("visit", str(street / "s"), *identity) as visitor:
        with listener.accept()[0] as sock:
            said_by(visitor)
            facts = look_at(sock)
    assert (facts.uid, facts.gid) == (OTHER_UID, 777)
    assert facts.groups >= set(groups)


def test_a_few_groups_come_from_the_socket_itself(street: Path):
    with (
        listening(street / "s") as listener,
        running("visit", str(street / "s"), "5,6", "777", str(OTHER_UID)) as visitor,
    ):
        with listener.accept()[0] as sock:
            said_by(visitor)
            assert look_at(sock).groups == {5, 6}


def test_a_container_on_this_host_has_several_numbers(street: Path):
    with listening(street / "s") as listener:
        with running("visit", str(street / "s"), wrap=NEW_PID_NAMESPACE) as visitor:
            with listener.accept()[0] as sock:
                assert said_by(visitor)["pid"] == 1
                facts = look_at(sock)
    assert facts.uid == 0
    assert facts.nspid is not None
    assert facts.nspid[1:] == (1,)
    assert facts.pid == facts.nspid[0] > 1


def test_root_of_a_user_namespace_is_who_it_is_outside(street: Path):
    with listening(street / "s") as listener:
        with running("visit", str(street / "s"), "", str(OTHER_UID), str(OTHER_UID), "userns") as visitor:
            said = said_by(visitor)
            if "refused" in said:
                pytest.skip("needs user namespaces")
            assert said["uid"] == 0
            with listener.accept()[0] as sock:
                assert look_at(sock).uid == OTHER_UID


def test_a_peer_outside_our_own_pid_namespace_has_no_number(street: Path):
    with running("receive", str(street / "s"), wrap=NEW_PID_NAMESPACE) as receiver:
        assert said_by(receiver) == "listening"
        with running("visit", str(street / "s")) as visitor:
            said_by(visitor)
            facts = said_by(receiver)
    assert (facts["pid"], facts["uid"], facts["nspid"], facts["dead"]) == (0, 0, None, False)


def test_a_stranger_to_our_user_namespace_is_the_overflow_uid(street: Path):
    wrap = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*wrap, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs user namespaces")
    with running("receive", str(street / "s"), wrap=wrap) as receiver:
        assert said_by(receiver) == "listening"
        with running("visit", str(street / "s"), "", str(OTHER_UID), str(OTHER_UID)) as visitor:
            said_by(visitor)
            assert said_by(receiver)["uid"] == 65534


def test_who_has_died_in_the_queue_is_noticed(street: Path):
    with listening(street / "s") as listener:
        with running("visit", str(street / "s")) as visitor:
            said = said_by(visitor)
        with listener.accept()[0] as sock:
            facts = look_at(sock)
    assert facts.pid == said["pid"]
    assert facts.dead


def test_a_kernel_without_peer_pidfds_is_asked_by_number(street: Path):
    with running("receive", str(street / "s"), "ENOPROTOOPT") as receiver:
        assert said_by(receiver) == "listening"
        with running("visit", str(street / "s")) as visitor:
            said = said_by(visitor)
            facts = said_by(receiver)
    assert (facts["pid"], facts["nspid"], facts["start"]) == (said["pid"], [said["pid"]], said["start"])
    assert (facts["dead"], facts["legacy"], facts["has_pidfd"]) == (False, True, True)


@pytest.mark.parametrize("error", ["ENOPROTOOPT", "EINVAL"])
def test_on_an_older_kernel_too_the_dead_are_noticed(street: Path, error: str):
    with running("receive", str(street / "s"), error, "late") as receiver:
        assert said_by(receiver) == "listening"
        with running("visit", str(street / "s")) as visitor:
            said_by(visitor)
        assert receiver.stdin is not None
        receiver.stdin.write(b"now\n")
        receiver.stdin.flush()
        facts = said_by(receiver)
    assert (facts["dead"], facts["legacy"], facts["has_pidfd"]) == (True, True, False)


@pytest.mark.parametrize("when", ["before the accept", "after the accept"])
@pytest.mark.parametrize("prepared", [True, False], ids=["since the listener was opened", "since the accept"])
async def test_whatever_is_sent_carries_its_sender(street: Path, nursery, when: str, prepared: bool):
    with listening(street / "s", prepared=prepared) as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(street / "s"))
        if when == "before the accept":
            client.send(pack(b"early"))
        with listener.accept()[0] as sock:
            if not prepared:
                prepare_accepted(sock)
            if when == "after the accept":
                client.send(pack(b"early"))
            link = UnixLink(sock, nursery, limit=100, sender=look_at(sock).pid)
            assert await link.receive() == [b"early"]


async def test_a_socket_handed_on_does_not_speak_for_who_connected_it(street: Path, nursery):
    with listening(street / "s") as listener, running("hand_on", str(street / "s")) as visitor:
        with listener.accept()[0] as sock:
            said = said_by(visitor)
            facts = look_at(sock)
            assert facts.pid == said["connected"] != said["speaks"]
            link = UnixLink(sock, nursery, limit=100, sender=facts.pid)
            with trio.fail_after(SECONDS), pytest.raises(OtherSender, match=str(said["speaks"])):
                await link.receive()


def test_nobody_parks_descriptors_with_us():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        prepare_accepted(ours)
        try:
            socket.send_fds(theirs, [b"x"], [0])
        except PermissionError:
            return  # Linux 6.16 and later: refused while it is sent
        assert ours.recv(10) == b"x"  # before: dropped when it is read
