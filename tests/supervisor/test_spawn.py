"""The spawn table: matching by inode and by number, what is known, tickets."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from supervisor import kernel
from supervisor.channel import Channel, pair
from supervisor.factory import Birth
from supervisor.spawn import TICKET_SECONDS, SpawnTable


@pytest.fixture(params=[kernel.PID_FS_MAGIC, 0], ids=["inodes", "numbers"])
def table(request):
    return SpawnTable(pidfs=request.param)


@pytest.fixture
def sleeper() -> Iterator[Callable[[], Birth]]:
    """Births of processes that do nothing."""
    held: list[tuple[subprocess.Popen[bytes], Birth, socket.socket]] = []

    def bear() -> Birth:
        process = subprocess.Popen(["sleep", "300"])
        ours, theirs = pair()
        theirs.close()
        birth = Birth(process.pid, os.pidfd_open(process.pid), Channel(ours), -1, kernel.start_of(process.pid))
        held.append((process, birth, ours))
        return birth

    yield bear
    for process, birth, lifeline in held:
        process.kill()
        process.wait()
        lifeline.close()
        os.close(birth.pidfd)


def add(table: SpawnTable, birth: Birth, spawn: str = "s1", agent: str = "main"):
    return table.add(birth, spawn=spawn, agent=agent, session=f"agent:{agent}:main", generation=1, now=0.0)


def test_a_worker_is_matched_by_another_descriptor_of_the_same_process(table, sleeper):
    birth = sleeper()
    entry = add(table, birth)
    another = os.pidfd_open(birth.pid)
    assert table.match(another) is entry
    os.close(another)


def test_a_stranger_matches_nothing(table, sleeper):
    add(table, sleeper())
    assert table.match(sleeper().pidfd) is None


def test_a_removed_worker_matches_nothing(table, sleeper):
    birth = sleeper()
    entry = add(table, birth)
    assert table.remove("s1") is entry
    assert table.remove("s1") is None
    assert table.match(birth.pidfd) is None
    assert table.known_pids() == set()
    assert len(table) == 0


def test_a_spare_is_ours_until_it_is_bound_and_a_worker_from_then_on(table, sleeper):
    birth = sleeper()
    own = table.own("spare", birth.pid, birth.pidfd)
    assert table.match(birth.pidfd) is own
    entry = add(table, birth)
    table.disown(birth.pid)  # too late to matter
    assert table.match(birth.pidfd) is entry
    assert table.known_pids() == {birth.pid}


def test_what_is_disowned_is_forgotten(table, sleeper):
    birth = sleeper()
    table.own("gateway", birth.pid, birth.pidfd)
    table.disown(birth.pid)
    table.disown(birth.pid)
    assert table.match(birth.pidfd) is None
    assert table.known_pids() == set()


def test_workers_are_found_by_agent(table, sleeper):
    one, two, three = (add(table, sleeper(), spawn, agent) for spawn, agent in [("a", "x"), ("b", "y"), ("c", "x")])
    assert table.of_agent("x") == [one, three]
    assert list(table) == [one, two, three]
    assert table.get("b") is two
    assert table.known_pids() == {one.pid, two.pid, three.pid}


def test_a_spawn_id_is_used_once(table, sleeper):
    add(table, sleeper())
    with pytest.raises(ValueError, match="s1 exists"):
        add(table, sleeper())


# --- tickets


@pytest.fixture
def worker(table, sleeper):
    return add(table, sleeper())


def test_a_ticket_opens_once(table, worker):
    ticket = table.mint(worker, now=0.0)
    assert table.claim("s1", ticket, now=1.0) == (True, "")
    assert table.claim("s1", ticket, now=1.0) == (False, "it has no unused ticket")


def test_a_wrong_ticket_burns_the_right_one(table, worker):
    ticket = table.mint(worker, now=0.0)
    assert table.claim("s1", "0" * 64, now=1.0) == (False, "wrong ticket")
    assert table.claim("s1", ticket, now=1.0) == (False, "it has no unused ticket")


def test_a_ticket_expires(table, worker):
    ticket = table.mint(worker, now=100.0)
    assert table.claim("s1", ticket, now=100.0 + TICKET_SECONDS)[0] is False
    ticket = table.mint(worker, now=100.0)
    assert table.claim("s1", ticket, now=99.9 + TICKET_SECONDS) == (True, "")


def test_a_new_ticket_makes_the_old_one_void(table, worker):
    old = table.mint(worker, now=0.0)
    new = table.mint(worker, now=0.0)
    assert old != new
    assert len(new) == 64
    assert table.claim("s1", old, now=0.0) == (False, "wrong ticket")


@pytest.mark.parametrize("ticket", ["", "é", "\udcff"])
def test_a_ticket_that_is_no_ticket_is_wrong(table, worker, ticket):
    table.mint(worker, now=0.0)
    assert table.claim("s1", ticket, now=0.0) == (False, "wrong ticket")


def test_another_workers_ticket_is_wrong_and_a_dead_workers_is_void(table, worker, sleeper):
    other = add(table, sleeper(), "s2")
    ticket = table.mint(worker, now=0.0)
    table.mint(other, now=0.0)
    assert table.claim("s2", ticket, now=0.0) == (False, "wrong ticket")
    table.remove("s1")
    assert table.claim("s1", ticket, now=0.0) == (False, "the worker has ended")
