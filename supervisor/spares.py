"""Warm spares: workers born ahead of need, bound to an identity only when used, and used once.

Owns: the pool. A spare has no agent, ticket or environment of one; should it show up at a door it is "ours" and is
refused."""

from __future__ import annotations

import os

import trio

from supervisor import kernel
from supervisor.factory import Birth, BirthFailed, Factory
from supervisor.spawn import SpawnTable

REFILL_SECONDS = 0.03
"""A fork beside a worker that was just bound would take the processor from it, and it is the one somebody waits for."""
LOOK_SECONDS = 5.0
"""How often the pool is looked at although nobody took from it: a spare can die, and a failed birth is tried again."""


class Spares:
    """Keeps `want` unassigned workers in reserve while `serve` runs. `want` may be changed at any time; 0 keeps
    none."""

    def __init__(self, factory: Factory, table: SpawnTable, want: int) -> None:
        self.want = want
        self._factory = factory
        self._table = table
        self._ready: list[Birth] = []
        self._taken = trio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    def take(self) -> Birth | None:
        """A live spare, now the caller's: `SpawnTable.add` it before the next await. None when there is none."""
        while self._ready:
            birth = self._ready.pop(0)
            self._taken.set()
            if not kernel.has_ended(birth.pidfd):
                return birth
            self._bury(birth)
        return None

    async def serve(self) -> None:
        """Refill for ever, in the background of whatever runs beside it. Cancelled, it lets every spare go."""
        try:
            while True:
                self._taken = trio.Event()
                await self._refill()
                with trio.move_on_after(LOOK_SECONDS):
                    await self._taken.wait()
                    await trio.sleep(REFILL_SECONDS)
        finally:
            self.drop()

    def drop(self) -> None:
        """Let every spare go: its lifeline ends and so does it; the next sweep reaps it."""
        while self._ready:
            birth = self._ready.pop()
            self._table.disown(birth.pid)
            birth.close()

    async def _refill(self) -> None:
        for birth in [one for one in self._ready if kernel.has_ended(one.pidfd)]:
            self._ready.remove(birth)
            self._bury(birth)
        while len(self._ready) < self.want:
            try:
                birth = await self._factory.spawn("worker")
            except BirthFailed:
                return  # looked at again after LOOK_SECONDS
            self._table.own("spare", birth.pid, birth.pidfd)
            self._ready.append(birth)

    def _bury(self, birth: Birth) -> None:
        os.waitid(os.P_PIDFD, birth.pidfd, os.WEXITED | os.WNOHANG)
        self._table.disown(birth.pid)
        birth.close()
