"""Warm spares with real births: kept in number, used once, replaced when they die, gone when the system stops."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from supervisor import trees
from supervisor.spares import Spares
from supervisor.spawn import SpawnTable
from tests.support.spawn_targets import assign, ended, until_dead


@pytest.fixture
async def spares(zygote_nest, nursery):
    table = SpawnTable()
    spares = Spares(zygote_nest.factory, table, want=2)
    nursery.start_soon(spares.serve)
    await filled(spares, 2)
    return spares, table


async def filled(spares: Spares, count: int) -> None:
    with trio.fail_after(10):
        while len(spares) != count:
            await trio.sleep(0.002)


def held_by(pid: int) -> list[str]:
    return sorted(os.listdir(f"/proc/{pid}/fd"))


async def test_a_spare_is_taken_once_becomes_a_worker_and_is_replaced(spares):
    spares, table = spares
    first, second = spares.take(), spares.take()
    assert first is not None
    assert second is not None
    assert first.pid != second.pid
    assert spares.take() is None
    assert {first.pid, second.pid} <= table.known_pids()
    entry = table.add(first, spawn="s1", agent="main", session="agent:main:main", generation=1, now=0.0)
    first.channel.send_nowait(assign("code = 4"))
    assert await ended(first) == trees.Exit(code=4)
    assert table.match(entry.pidfd) is entry
    await filled(spares, 2)
    for birth in (first, second):
        birth.close()


async def test_a_spare_that_died_is_not_given_out_and_is_replaced(spares):
    spares, table = spares
    dead = sorted(table.known_pids())
    for pid in dead:
        os.kill(pid, signal.SIGKILL)
    await until_dead(dead)
    assert spares.take() is None
    await filled(spares, 2)
    assert not set(dead) & table.known_pids()


async def test_no_zygote_means_no_spares_and_no_failure(zygote_nest, nursery, spares):
    spares, _ = spares
    trees.send(zygote_nest.zygote.pidfd, signal.SIGKILL)
    await ended(zygote_nest.zygote)
    birth = spares.take()
    assert birth is not None
    assert len(spares) == 1
    birth.close()
    zygote_nest.zygote.close()
    await zygote_nest.start_zygote()
    await filled(spares, 2)


async def test_spares_go_when_the_pool_does(zygote_nest):
    table = SpawnTable()
    spares = Spares(zygote_nest.factory, table, want=3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spares.serve)
        await filled(spares, 3)
        pids = sorted(table.known_pids())
        nursery.cancel_scope.cancel()
    await until_dead(pids)
    assert table.known_pids() == set()


async def test_a_spare_shares_no_descriptor_with_another(spares):
    spares, _ = spares
    one, other = spares.take(), spares.take()
    assert one is not None
    assert other is not None
    with trio.fail_after(10):  # one that still rehearses holds what an event loop takes
        while held_by(other.pid) != ["0", "1", "2", "3"]:
            await trio.sleep(0.01)
    one.close()
    other.close()
