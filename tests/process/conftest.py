"""What tests with real processes share: this process as a supervisor, and a factory of each kind."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import trio

from supervisor import kernel, marks, trees
from supervisor.factory import Birth, Factory, Method, exec_zygote
from supervisor.outfit import allowed_environment
from tests.support.spawn_targets import GATEWAY, WORKER, until_dead


class Nest:
    """A factory, what the test asked of it, and the zygote behind it."""

    def __init__(self, factory: Factory, nursery: trio.Nursery, environment: dict[str, str]) -> None:
        self.factory = factory
        self.births: list[Birth] = []
        self.zygote: Birth | None = None
        self._nursery = nursery
        self._environment = environment

    async def start_zygote(self) -> None:
        self.zygote = exec_zygote(WORKER, GATEWAY, self._environment)
        with trio.fail_after(20):
            await self._nursery.start(self.factory.serve_zygote, self.zygote.channel)

    async def worker(self) -> Birth:
        with trio.fail_after(20):
            birth = await self.factory.spawn("worker")
        self.births.append(birth)
        return birth

    async def gateway(self) -> Birth:
        with trio.fail_after(20):
            birth = await self.factory.spawn("gateway")
        self.births.append(birth)
        return birth


async def _open_nest(method: Method, state_dir: str) -> AsyncIterator[Nest]:
    environment = {**allowed_environment(os.environ), marks.STATE_VARIABLE: marks.state_mark(state_dir)}
    kernel.become_subreaper()
    try:
        async with trio.open_nursery() as nursery:
            nest = Nest(Factory(method, worker=WORKER, gateway=GATEWAY, environment=environment), nursery, environment)
            if method == "zygote":
                await nest.start_zygote()
            try:
                yield nest
            finally:
                with trio.CancelScope(shield=True):
                    await _bury(nest)
                nursery.cancel_scope.cancel()
    finally:
        kernel.become_subreaper(False)


async def _bury(nest: Nest) -> None:
    births = [*nest.births, *([nest.zygote] if nest.zygote else [])]
    for birth in births:
        trees.send(birth.pidfd, 9)
    await until_dead([birth.pid for birth in births])
    await trees.sweep(set, kernel.seccomp_filters(os.getpid()) or 0)
    for birth in births:
        birth.close()


@pytest.fixture(params=["zygote", "exec"])
async def nest(request, tmp_path) -> AsyncIterator[Nest]:
    """Both ways to be born; a test that uses it holds for both."""
    async for one in _open_nest(request.param, str(tmp_path)):
        yield one


@pytest.fixture
async def zygote_nest(tmp_path) -> AsyncIterator[Nest]:
    async for one in _open_nest("zygote", str(tmp_path)):
        yield one
