"""Accepting: trouble pauses a door and never ends it, and a crowd before one door keeps nobody from another."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable

import pytest
import trio

from gateway.auth.facts import PeerFacts, Policy
from gateway.auth.principal import Kind, Principal, Refused, Verdict
from gateway.listen.unix import UnixDoor
from gateway.protocol.limits import MAX_UNGREETED_PER_DOOR
from supervisor.messages import Identity

POLICY = Policy(owner=os.geteuid())


class Street:
    """A door with a listener of its own, and everybody who came through it."""

    def __init__(self, path: str, nursery: trio.Nursery, *, name: str = "operator", greet: bool = True) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1024)
        self.somebody_came = trio.Event()
        self.came: list[tuple[PeerFacts, Verdict]] = []
        self.identity: Identity | Exception = Identity(1, "none")
        self._greet = greet
        self.door = UnixDoor(name, self.listener, whois=self.whois, policy=lambda: POLICY, converse=self.converse)
        nursery.start_soon(self.door.serve, nursery)

    async def whois(self, pid: int, pidfd: int | None) -> Identity:
        await trio.lowlevel.checkpoint()
        assert pidfd is not None
        os.fstat(pidfd)
        if isinstance(self.identity, Exception):
            raise self.identity
        return self.identity

    async def converse(
        self, sock: socket.socket, door: str, facts: PeerFacts, verdict: Verdict, greeted: Callable[[], None]
    ) -> None:
        self.came.append((facts, verdict))
        self.somebody_came.set()
        if self._greet:
            greeted()
            greeted()
        await trio.lowlevel.wait_readable(sock)

    async def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        sock.connect(self.path)
        await trio.testing.wait_all_tasks_blocked()
        return sock


@pytest.fixture
async def street(tmp_path, nursery):
    one = Street(str(tmp_path / "s"), nursery)
    await trio.testing.wait_all_tasks_blocked()
    yield one
    nursery.cancel_scope.cancel()
    one.listener.close()


async def test_a_visitor_arrives_with_what_the_kernel_says(street):
    with await street.connect():
        ((facts, verdict),) = street.came
    assert (facts.pid, facts.uid, facts.nspid) == (os.getpid(), os.geteuid(), (os.getpid(),))
    assert isinstance(verdict, Principal)
    assert verdict.kind is Kind.OPERATOR
    assert facts.pidfd is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(facts.pidfd)  # it was only needed to decide


async def test_descent_is_asked_of_the_supervisor_and_outranks_the_uid(street):
    street.identity = Identity(1, "tool", "s1", "main", "agent:main:main")
    with await street.connect():
        assert isinstance(street.came[0][1], Principal)
        assert street.came[0][1].kind is Kind.TOOL
    street.identity = Identity(1, "dead")
    with await street.connect():
        assert isinstance(street.came[1][1], Refused)


async def test_a_fault_while_identifying_ends_one_visit(street, caplog):
    street.identity = RuntimeError("the supervisor said something odd")
    with await street.connect() as sock:
        assert sock.recv(1) == b""
    assert "a conversation failed" in caplog.text
    street.identity = Identity(1, "none")
    with await street.connect():
        assert len(street.came) == 1


async def test_descriptors_running_out_pauses_the_door_and_loses_nobody(street, caplog):
    waiting = socket.socket(socket.AF_UNIX)
    waiting.setblocking(False)
    spare = os.dup(0)
    os.close(spare)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, limits[1]))
    try:
        waiting.connect(street.path)
        await trio.sleep(0.2)
        assert street.came == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with trio.fail_after(5), waiting:
        await street.somebody_came.wait()
    assert [record.message for record in caplog.records].count("cannot accept; trying again") == 1


class Refusing:
    """A listener whose accept fails a few times, as the kernel may make it."""

    def __init__(self, listener: socket.socket, errors: list[int]) -> None:
        self._listener, self._errors = listener, errors

    def accept(self) -> tuple[socket.socket, object]:
        if self._errors:
            number = self._errors.pop()
            raise OSError(number, os.strerror(number))
        return self._listener.accept()

    def fileno(self) -> int:
        return self._listener.fileno()


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED, errno.EPROTO, errno.EPERM]
)
async def test_no_error_of_accept_ends_a_door(street, number: int):
    street.door._listener = Refusing(street.listener, [number] * 3)
    with await street.connect() as sock:
        with trio.fail_after(5):
            await street.somebody_came.wait()
        assert sock.fileno() >= 0


async def test_a_crowd_that_says_nothing_keeps_nobody_from_another_door(tmp_path, nursery):
    crowded = Street(str(tmp_path / "agents"), nursery, name="agents", greet=False)
    quiet = Street(str(tmp_path / "operator"), nursery)
    crowd = []
    for _ in range(MAX_UNGREETED_PER_DOOR + 10):
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        sock.connect(crowded.path)
        crowd.append(sock)
    await trio.testing.wait_all_tasks_blocked()
    assert len(crowded.came) == MAX_UNGREETED_PER_DOOR
    with await quiet.connect():
        assert len(quiet.came) == 1
    for sock in crowd[:20]:
        sock.close()
    await trio.testing.wait_all_tasks_blocked()
    assert len(crowded.came) == MAX_UNGREETED_PER_DOOR + 10
    nursery.cancel_scope.cancel()
    for sock in (*crowd, crowded.listener, quiet.listener):
        sock.close()


async def test_a_door_that_is_left_is_not_shut(tmp_path):
    async with trio.open_nursery() as nursery:
        street = Street(str(tmp_path / "s"), nursery)
        with await street.connect():
            nursery.cancel_scope.cancel()
    with socket.socket(socket.AF_UNIX) as next_visitor:
        next_visitor.connect(street.path)
        street.listener.accept()[0].close()
    street.listener.close()
