"""One gateway after another, and everything that may happen to them, drawn from a seed.

Owns the story: the gateways, their workers, what is broken for a while, and what callers were told, which is remembered
for `promises`. What happens in it is the test's: actions that draw what they need before they wait, so that a seed
tells the same story again."""

from __future__ import annotations

import random
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio
import trio.testing

from gateway.protocol.calls.worker import Assignment
from gateway.protocol.errors import Refusal
from gateway.services.housekeeping import House
from gateway.services.work import ChildLimit
from supervisor.messages import Exited
from tests.support.engine import Born, Worker, open_box, settings_from, wall_clock
from tests.support.promises import Remembered, broken

AGENTS = ("main", "scout", "nurse")


def settings(
    agents: Iterable[str], main: int = 3, children: int = 2, silent: int = 50, most: int = 90
) -> dict[str, Any]:  # fmt: skip
    """A configuration: two caps, and seconds a turn may be silent and take."""
    defaults = {
        "maxConcurrent": main, "noProgressSeconds": silent, "timeoutSeconds": most,
        "subagents": {"maxConcurrent": children, "maxChildrenPerAgent": 50},
    }  # fmt: skip
    return {"agents": {"defaults": defaults, "entries": {agent: {} for agent in agents}}}


@dataclass(eq=False)
class Hand:
    """A worker process in the story: the run in its hands, the event that ends its work on it, its own end."""

    worker: Worker
    run: Assignment | None = None
    over: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def spawn(self) -> str:
        return self.worker.born.spawn


@dataclass
class Disk:
    """What the writer asks before it commits: here it hears that the disk is full while the story says so."""

    story: Havoc

    def moved(self) -> Refusal | None:
        return self.story.full


class Havoc:
    """A story. `told` is what its people were told, `log` what happened."""

    def __init__(
        self, seed: int, state_dir: Path, time: trio.testing.MockClock, actions: Mapping[Callable[[Havoc], None], int]
    ) -> None:
        self.actions = actions
        self.draw = random.Random(seed)
        self.seed, self.state_dir, self.time = seed, state_dir, time
        self.told, self.log = Remembered(), [f"seed {seed}"]
        self.depths: dict[str, int] = {}
        self.messages: dict[str, tuple[str, str, dict[str, Any]]] = {}
        self.settings = settings(AGENTS)
        self.quarantined: dict[str, str] = {}
        self.shift = 0.0
        self.number = 0
        self.generation = 0
        self.left: list[Hand] = []
        self._begin()

    def _begin(self) -> None:
        self.hands: dict[str, Hand] = {}
        self.unmet: dict[str, Born] = {}
        self.slow: threading.Event | None = None
        self.full: Refusal | None = None
        self.open_calls = 0

    # --- telling ------------------------------------------------------------------------------------------------------

    async def live(self, steps: int, *, last: bool) -> None:
        """One gateway from its start to its end; the last one ends when everything is done."""
        self._begin()
        self.generation += 1
        live = [hand.worker for hand in self.left]
        more: dict[str, Any] = {"generation": self.generation, "tree": self.settings, "quarantined": self.quarantined}
        async with open_box(self.state_dir, live=live, clock=self.clock, **more) as self.box:
            async with trio.open_nursery() as self.nursery:
                self._open()
                for _ in range(steps):
                    await self._step()
                if last:
                    await self._finish_everything()
                else:
                    self._close()
                self.nursery.cancel_scope.cancel()

    def clock(self) -> float:
        return wall_clock() + self.shift

    def _open(self) -> None:
        self.house = House(self.box.services.engine)
        self.seen = len(self.box.supervisor.born)
        for hand in self.left:
            self.box.hired.add(hand.spawn)
            hand.worker.connect()
            self.employ(hand.worker, hand.run)
        self.box.services.database._writer._mark = Disk(self)  # type: ignore[assignment]

    def _close(self) -> None:
        """The gateway dies: of its workers some live on. What a full disk refused by then is lost."""
        if self.slow is not None:
            self.slow.set()
        self.left = []
        for hand in list(self.hands.values()):
            hand.scope.cancel()
            if self.draw.random() < 0.7:
                self.left.append(hand)

    async def _step(self) -> None:
        self.number += 1
        self._meet()
        self.draw.choices([*self.actions], [*self.actions.values()])[0](self)
        if self.slow is not None:
            await trio.testing.wait_all_tasks_blocked()
            return
        await self._settle()
        self.check()

    def check(self) -> None:
        if wrong := broken(self.box, self.told):
            raise AssertionError("\n".join([*wrong, "", *self.log[:1], *self.log[-40:]]))

    async def _settle(self) -> None:
        for _ in range(3):
            try:
                await self.box.services.database.write(lambda db: None)
            except Refusal:
                assert self.full is not None
            await trio.testing.wait_all_tasks_blocked()

    async def _finish_everything(self) -> None:
        """All is well from here on: what was accepted comes to its end."""
        self.make_fast()
        self.full = None
        self.box.supervisor.refuse.clear()
        self.box.supervisor.awake.set()
        self.use(settings(AGENTS))
        await self._settle()
        for agent in AGENTS:
            self.quarantine(agent, on=False)
            self.call("restart", partial(self.box.services.agents.restart, agent, "again"))
        for _ in range(1500):
            await self._settle()
            self.check()
            if not self.box.services.engine.board._runs and not self.open_calls:
                return
            self.reap()
            self._meet(certainly=True)
            for hand in self.busy():
                self.finish(hand, "done", "NO_REPLY", [])
            await self._settle()
            if not self.busy():
                self.time.jump(1)
        left = f"never done: {[*self.box.services.engine.board._runs.values()]}, {self.open_calls} calls"
        raise AssertionError("\n".join([left, *self.log[:1], *self.log[-40:]]))

    def call(self, name: str, call: Callable[[], Awaitable[Any]], then: Callable[[Any], None] | None = None) -> None:
        """Somebody calls the gateway; being refused is an answer."""
        self.log.append(f"{self.number} {name}")
        self.open_calls += 1
        generation = self.generation

        async def answered() -> None:
            try:
                answer = await call()
                if then is not None:
                    then(answer)
            except (Refusal, ChildLimit) as no:
                self.log.append(f"  {name}: {str(no)[:100]}")
            if generation == self.generation:
                self.open_calls -= 1

        self.nursery.start_soon(answered)

    # --- what is broken for a while -----------------------------------------------------------------------------------

    def make_slow(self) -> None:
        """The disk takes its time: everything written from here on goes into the batch after it."""
        if self.slow is None:
            over = self.slow = threading.Event()
            self.box.services.database.post(lambda db: over.wait(20))

    def make_fast(self) -> None:
        if self.slow is not None:
            self.slow.set()
            self.slow = None

    def quarantine(self, agent: str, *, on: bool) -> None:
        """By the supervisor, which still knows it when the gateway has died."""
        if on:
            self.quarantined[agent] = "it fell"
        else:
            self.quarantined.pop(agent, None)
        self.box.services.agents.quarantined(agent, on, "it fell")

    def use(self, tree: dict[str, Any]) -> None:
        """New settings."""
        self.settings = tree
        self.box.services.reload(settings_from(tree))

    def reap(self) -> None:
        """Workers whose end was asked for end."""
        asked = {spawn for spawn, _ in self.box.supervisor.stopped}
        for born in [one for one in self.box.supervisor.born if one.spawn in asked]:
            if born.spawn in self.hands or born.spawn in self.unmet:
                self.bury(born, None, 15, "")

    # --- workers ------------------------------------------------------------------------------------------------------

    def _meet(self, *, certainly: bool = False) -> None:
        """Workers that were born connect, at once, later or never."""
        born = self.box.supervisor.born
        self.unmet |= {one.spawn: one for one in born[self.seen :]}
        self.seen = len(born)
        for one in [*self.unmet.values()]:
            if certainly or self.draw.random() < 0.7:
                del self.unmet[one.spawn]
                self.employ(Worker(self.box, one), None)

    def employ(self, worker: Worker, holding: Assignment | None) -> None:
        hand = self.hands[worker.born.spawn] = Hand(worker, holding)
        self.nursery.start_soon(self._work, hand, holding)

    async def _work(self, hand: Hand, holding: Assignment | None) -> None:
        with hand.scope:
            while True:
                try:
                    run = await hand.worker.next(holding)
                except Refusal as no:
                    if hand.worker.seat.gone or self.full is None:
                        return self.log.append(f"  {hand.spawn} leaves: {str(no)[:80]}")
                    await trio.sleep(1)
                    continue
                holding = hand.run = None
                if not run.abandoned:
                    hand.run, hand.over = run, trio.Event()
                    await hand.over.wait()
                    hand.run = None

    def busy(self) -> list[Hand]:
        return [hand for hand in self.hands.values() if hand.run is not None]

    def finish(self, hand: Hand, status: str, text: str, unread: list[int]) -> None:
        run, over = hand.run, hand.over
        assert run is not None
        times = self.draw.choice((1, 1, 1, 2))
        if times == 2:  # the answer is lost, and it says it again
            self.call(f"{hand.spawn} finishes", partial(hand.worker.finish, run, text, status, unread=unread))

        closes = self.draw.random() < 0.7

        async def finish() -> None:
            try:
                if closes:
                    await hand.worker.steer(run, open=False)
                await hand.worker.finish(run, text, status, unread=unread)
            except Refusal as no:
                if (no.shape.details or {}).get("cause") == "full":
                    return
                over.set()
                raise
            over.set()

        self.call(f"{hand.spawn} finishes {run.run_id} {status} {text}", finish)

    def bury(self, born: Born, code: int | None, signal: int | None, reason: str) -> None:
        self.log.append(f"{self.number} {born.spawn} dies: {code} {signal} {reason}")
        self.unmet.pop(born.spawn, None)
        hand = self.hands.pop(born.spawn, None)
        if hand is None:
            exited = Exited(born.spawn, born.agent, born.session, code, signal, reason)
            return self.box.services.workers.exited(exited)
        hand.scope.cancel()
        hand.worker.die(code, signal, reason)
