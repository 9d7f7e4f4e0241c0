"""The verdict on a peer of this host: every row of the table, and how questions wait."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import trio

from supervisor.diag import ESTABLISHED, Socket
from supervisor.holders import (
    MAX_WAITING,
    Facts,
    Holder,
    Holders,
    judge,
    possible_uids,
    scan,
    who_listens,
    worker_groups,
)  # fmt: skip
from supervisor.messages import Held, WhoHolds
from supervisor.settings import UidRange
from supervisor.spawn import SpawnTable
from supervisor.whois import Who, Whois

OWNER, OTHER, AGENTS = 1000, 1001, UidRange(70000, 10, 70000)
US = possible_uids(OWNER, None)
ROOTS_AGENTS = possible_uids(0, AGENTS)
ANY = possible_uids(0, None)


def sock(uid: int = OWNER) -> Socket:
    return Socket(ESTABLISHED, ("127.0.0.1", 40000), ("127.0.0.1", 18789), uid, 7, 0xC00C1E, 5)


def held(kind: str, uid: int = OWNER, pid: int = 50) -> Holder:
    return Holder(pid, Who(kind), uid)


TABLE = [
    # address of ours?, socket, holders, made in a worker's group?, our uids -> kind, uid
    ("from elsewhere", Facts(False, None, (), False, US), ("remote", -1)),
    ("from here, and the kernel knows no such connection", Facts(True, None, (), False, US), ("unknown", -1)),
    ("an ordinary program", Facts(True, sock(), (held("none"),), False, US), ("outside", OWNER)),
    ("another account's, readable", Facts(True, sock(OTHER), (held("none", OTHER),), False, US), ("outside", OTHER)),
    ("at an address that is not ours", Facts(False, sock(), (held("none"),), False, US), ("outside", OWNER)),
    ("a worker", Facts(True, sock(), (held("worker"),), False, US), ("ours", OWNER)),
    ("a tool", Facts(True, sock(), (held("tool"),), False, US), ("ours", OWNER)),
    ("marked, or of the supervisor itself", Facts(True, sock(), (held("ours"),), False, US), ("ours", OWNER)),
    ("a tool at an address not ours", Facts(False, sock(), (held("tool"),), False, US), ("ours", OWNER)),
    ("shared, a tool last", Facts(True, sock(), (held("none"), held("tool", pid=51)), False, US), ("ours", OWNER)),
    ("root's, held by a tool", Facts(True, sock(0), (held("tool", 0),), False, ANY), ("ours", 0)),
    ("made in a worker's group, held outside", Facts(True, sock(), (held("none"),), True, US), ("ours", -1)),
    ("made in a worker's group, holder unseen", Facts(True, sock(OTHER), (), True, US), ("ours", -1)),
    (
        "a socket of another uid than its holder",
        Facts(True, sock(0), (held("none"),), False, US),
        ("outside", -1),
    ),
    ("two holders of two accounts", Facts(True, sock(), (held("none"), held("none", 0)), False, US), ("outside", -1)),
    ("a holder in a PID namespace of its own", Facts(True, sock(0), (held("none", -1),), False, ANY), ("outside", -1)),
    ("nobody found, of our own account", Facts(True, sock(), (), False, US), ("unknown", OWNER)),
    ("nobody found, of another account", Facts(True, sock(OTHER), (), False, US), ("outside", OTHER)),
    ("nobody found, root's: any proxy", Facts(True, sock(0), (), False, US), ("outside", -1)),
    ("nobody found, overflow", Facts(True, sock(65534), (), False, US), ("unknown", 65534)),
    ("nobody found, an agent's uid", Facts(True, sock(70009), (), False, ROOTS_AGENTS), ("unknown", 70009)),
    ("nobody found, the supervisor's root", Facts(True, sock(0), (), False, ROOTS_AGENTS), ("unknown", 0)),
    ("nobody found, beyond the agents", Facts(True, sock(70010), (), False, ROOTS_AGENTS), ("outside", 70010)),
    ("nobody found, and agents are root", Facts(True, sock(OTHER), (), False, ANY), ("unknown", OTHER)),
]


@pytest.mark.parametrize(("facts", "verdict"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_every_row_of_the_table(facts: Facts, verdict: tuple[str, int]):
    told = judge(3, facts)
    assert (told.id, told.kind, told.uid) == (3, *verdict)
    assert told.cookie == ("" if facts.socket is None else "c00c1e")
    assert told.pids == [holder.pid for holder in facts.holders]
    assert told.detail or told.kind in ("remote", "outside"), "whoever is refused is told why"


def test_our_processes_have_our_accounts_and_roots_may_have_any():
    assert ({OWNER}, None) == (US, ANY)
    assert ROOTS_AGENTS is not None
    assert [uid in ROOTS_AGENTS for uid in (0, 69999, 70000, 70009, 70010)] == [True, False, True, True, False]


def test_groups_of_workers_are_known_by_their_directories(tmp_path):
    nested = tmp_path / "worker-s1" / "tool"
    nested.mkdir(parents=True)
    (tmp_path / "supervisor").mkdir()
    inodes = {nested.stat().st_ino, nested.parent.stat().st_ino}
    assert worker_groups(str(tmp_path)) == inodes
    assert worker_groups(str(tmp_path / "gone")) == set()


def test_every_holder_of_a_socket_is_found_in_one_look():
    left, right = socket.socketpair()
    with left, right:
        inodes = [os.fstat(one.fileno()).st_ino for one in (left, right)]
        found = scan([*inodes, 1])
        assert {inode: list(places) for inode, places in found.items()} == {
            inodes[0]: [os.getpid()],
            inodes[1]: [os.getpid()],
            1: [],
        }
    assert scan([]) == {}


def test_who_listens_is_named_for_people():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert who_listens(port).startswith(f"pid {os.getpid()} (")
    assert who_listens(port) == ""


def question(id: int, accepted: socket.socket | None = None) -> WhoHolds:
    """About a connection of this process's, or about a peer far away."""
    if accepted is None:
        return WhoHolds(id, "192.0.2.250", 18789, "198.51.100.7", 40000)
    return WhoHolds(id, *accepted.getsockname()[:2], *accepted.getpeername()[:2])


async def test_what_waits_together_is_answered_by_one_look(nursery, monkeypatch):
    looks: list[Any] = []
    real = os.listdir

    def listdir(place: Any) -> list[str]:
        looks.append(place)
        return real(place)

    monkeypatch.setattr(os, "listdir", listdir)
    answering = Holders(Whois(SpawnTable(), 0), US)
    told: list[Held] = []
    all_told = trio.Event()

    def tell(held: Held) -> None:
        told.append(held)
        if len(told) == 3:
            all_told.set()

    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        accepted, _ = server.accept()
        with accepted:
            for id in (1, 2, 3):
                answering.request(question(id, accepted if id != 2 else None), tell)
            nursery.start_soon(answering.serve)
            with trio.fail_after(5):
                await all_told.wait()
    assert [(one.id, one.kind) for one in told] == [(1, "outside"), (2, "remote"), (3, "outside")]
    assert told[0].cookie == told[2].cookie != ""
    assert looks.count("/proc") == 1
    nursery.cancel_scope.cancel()


async def test_more_questions_than_may_wait_are_unknown_at_once():
    answering = Holders(Whois(SpawnTable(), 0), US)
    told: list[Held] = []
    for id in range(MAX_WAITING + 1):
        answering.request(question(id), told.append)
    assert [(one.id, one.kind) for one in told] == [(MAX_WAITING, "unknown")]


@pytest.mark.parametrize("broken", ["socket", "listdir"])
def test_a_kernel_that_does_not_answer_makes_nobody_remote(monkeypatch, broken):
    answering = Holders(Whois(SpawnTable(), 0), US)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        accepted, _ = server.accept()
        with accepted:
            asked = question(1, accepted)
            monkeypatch.setattr(socket if broken == "socket" else os, broken, refuse)
            [told] = answering.decide([asked])
            monkeypatch.undo()
    assert (told.kind, "Too many open files" in told.detail) == ("unknown", True)


@contextmanager
def connections(count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """So many connections of this process's with itself: both ends."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        pairs = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(server.getsockname()))
            pairs.append((client, stack.enter_context(server.accept()[0])))
        yield pairs


def test_a_program_with_many_sockets_is_looked_through_once(monkeypatch):
    looks = 0
    real: Any = os.readlink

    def readlink(*args: Any, **options: Any) -> Any:
        nonlocal looks
        looks += 1
        return real(*args, **options)

    answering = Holders(Whois(SpawnTable(), 0), US)
    with connections(100) as pairs:
        [alone] = answering.decide([question(0, pairs[0][1])])
        monkeypatch.setattr(os, "readlink", readlink)
        answering.decide([question(0, pairs[0][1])])
        for_one, looks = looks, 0
        told = answering.decide([question(id, accepted) for id, (_, accepted) in enumerate(pairs)])
    assert [(one.kind, one.pids) for one in told] == [("outside", alone.pids)] * 100
    assert looks < for_one + 100 + 1000, "others may open files meanwhile; looking through it each time takes 20,000"


def test_a_socket_that_moves_while_its_holder_is_looked_at_is_found_again(monkeypatch):
    real = os.pidfd_open
    with connections(1) as [(client, accepted)]:

        def move(pid: int, flags: int = 0) -> int:
            if pid == os.getpid() and client.fileno() >= 0:
                moved.append(os.dup(client.fileno()))
                client.close()
            return real(pid, flags)

        moved: list[int] = []
        monkeypatch.setattr(os, "pidfd_open", move)
        [told] = Holders(Whois(SpawnTable(), 0), US).decide([question(1, accepted)])
        assert moved
        os.close(moved[0])
    assert (told.kind, told.pids) == ("outside", [os.getpid()])


def test_a_holder_that_lets_go_while_it_is_looked_at_holds_nothing(monkeypatch):
    real = os.pidfd_open
    with connections(1) as [(client, accepted)]:
        left, right = socket.socketpair()
        socket.send_fds(left, [b"x"], [client.fileno()])  # in flight: the connection lives, and nobody has it

        def let_go(pid: int, flags: int = 0) -> int:
            client.close()
            return real(pid, flags)

        monkeypatch.setattr(os, "pidfd_open", let_go)
        [told] = Holders(Whois(SpawnTable(), 0), US).decide([question(1, accepted)])
        left.close()
        right.close()
    assert told.pids == []
