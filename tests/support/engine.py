"""An engine on a real database with a supervisor and workers that live in the test: they speak through the public API.

Time stands still (`mock_clock`); a test that wants it to pass says so. Owned fakes, no mocks of our code."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trio
import trio.testing

from gateway.config.settings import Settings, complete
from gateway.control import SpawnRefused
from gateway.protocol.calls.worker import Assignment, WorkerEffect, WorkerEmit, WorkerFinish
from gateway.services import Services, open_services
from gateway.services.events import Hub
from gateway.services.work import Accepted, NewMessage, SpawnInfo
from supervisor.messages import Exited

_numbers = itertools.count(1)  # spawn ids are unique for the supervisor's life, which outlives gateways
EPOCH_MS = 1_700_000_000_000.0


def settings_from(tree: dict[str, Any]) -> Settings:
    """Settings as a configuration file would give them."""
    return complete(msgspec.convert(tree, Settings))


def wall_clock() -> float:
    """Wall milliseconds that follow the test's clock."""
    return EPOCH_MS + trio.current_time() * 1000


@dataclass(frozen=True)
class Born:
    """A worker process the supervisor started."""

    spawn: str
    pid: int
    start: int
    agent: str
    session: str


class TestSupervisor:
    """Starts workers that exist on paper. `refuse`: what it answers instead, by agent. `awake`: it answers."""

    __test__ = False

    def __init__(self) -> None:
        self.born: list[Born] = []
        self.refuse: dict[str, SpawnRefused] = {}
        self.asked: list[tuple[str, str]] = []
        self.stopped: list[tuple[str, str]] = []
        self.held: list[tuple[str, bool]] = []
        self.awake = trio.Event()
        self.awake.set()
        self._changed = trio.Event()

    async def spawn(self, agent: str, session: str) -> Born:
        self.asked.append((agent, session))
        self._tell()
        await self.awake.wait()
        if agent in self.refuse:
            raise self.refuse[agent]
        number = next(_numbers)
        born = Born(f"s{number}", 1000 + number, 5000 + number, agent, session)
        self.born.append(born)
        self._tell()
        return born

    def stop_worker(self, spawn: str, reason: str, grace: float) -> None:
        self.stopped.append((spawn, reason))
        self._tell()

    def hold(self, agent: str, on: bool, reason: str) -> None:
        self.held.append((agent, on))

    async def processes(self) -> list[dict[str, Any]]:
        return [
            {"kind": "worker", "pid": born.pid, "ppid": 1, "uid": 0, "state": "S", "rssBytes": 1} for born in self.born
        ]

    async def wait_for(self, count: int, attribute: str = "born") -> None:
        """Wait until there are so many of something."""
        while len(getattr(self, attribute)) < count:
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Listener(Hub):
    """A hub with one listener who remembers everything."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, Any]] = []

    @property
    def listeners(self) -> int:
        return 1

    def publish(self, event: str, payload: object, *, session: str | None = None, run: str | None = None) -> int:
        self.events.append((event, payload))
        return super().publish(event, payload, session=session, run=run)

    def of(self, event: str) -> list[Any]:
        return [payload for name, payload in self.events if name == event]


@dataclass
class Link:
    """A worker's connection."""

    events: list[tuple[str, Any]] = field(default_factory=list)
    _changed: trio.Event = field(default_factory=trio.Event)

    def post_event(self, event: str, payload: object) -> None:
        self.events.append((event, payload))
        self._changed.set()
        self._changed = trio.Event()

    async def wait_event(self) -> tuple[str, Any]:
        """The oldest event not taken yet."""
        while not self.events:
            await self._changed.wait()
        return self.events.pop(0)


@dataclass
class Identity:
    """The worker's principal, as the kernel and the spawn table would give it."""

    spawn: str
    agent: str
    session: str
    pid: int
    start: int


class Worker:
    """A worker process in the test."""

    def __init__(self, box: Box, born: Born) -> None:
        self.box = box
        self.born = born
        self.link = Link()
        self.who = Identity(born.spawn, born.agent, born.session, born.pid, born.start)
        self.connect()

    def connect(self) -> None:
        """Say hello (again) on a new connection."""
        self.link = Link()
        self.seat = self.box.services.workers.attach(self.link, self.who)
        self.box.hired.add(self.born.spawn)

    async def next(self, holding: Assignment | None = None) -> Assignment:
        run, attempt = (holding.run_id, holding.attempt) if holding else (None, 0)
        return await self.box.services.leases.next_for(self.seat, run, attempt)

    async def finish(
        self, run: Assignment, text: str | None = None, status: str = "done", **more: Any
    ) -> dict[str, Any]:
        report = WorkerFinish(run_id=run.run_id, attempt=run.attempt, status=status, text=text, **more)
        return await self.box.services.leases.finish(self.seat, report)

    async def say(self, run: Assignment, *texts: str, seq: int = 1) -> dict[str, Any]:
        events = [{"stream": "assistant", "data": {"delta": text}} for text in texts]
        report = msgspec.convert(
            {"runId": run.run_id, "attempt": run.attempt, "seq": seq, "events": events}, WorkerEmit
        )
        return await self.box.services.leases.emit(self.seat, report)

    async def note(self, run: Assignment, name: str, state: str = "intent", **more: Any) -> dict[str, Any]:
        """Tell that an action outside begins or how it ended; the name is its call as well."""
        fields = {"run_id": run.run_id, "attempt": run.attempt, "call": name, "name": name, "state": state, **more}
        return await self.box.services.leases.effect(self.seat, WorkerEffect(**fields))

    async def steer(self, run: Assignment, *, open: bool = True) -> None:
        await self.box.services.leases.steering(self.seat, run.run_id, open=open)

    def die(self, code: int | None = None, signal: int | None = 9, reason: str = "") -> None:
        """The process and its tree are gone."""
        signal = None if code is not None else signal
        born = self.born
        self.box.services.workers.detach(self.link, self.who)
        self.box.services.workers.exited(Exited(born.spawn, born.agent, born.session, code, signal, reason))


@dataclass
class Box:
    """One gateway's services and what is around them."""

    services: Services
    supervisor: TestSupervisor
    listener: Listener
    hired: set[str] = field(default_factory=set)

    async def send(self, text: str, session: str = "agent:main:main", *, run_id: str = "", **more: Any) -> Accepted:
        """Accept a message."""
        return await self.services.runs.accept(NewMessage(run_id or text, session, text, **more))

    async def spawn(self, name: str, parent: str = "agent:main:main", *, depth: int = 1, **more: Any) -> Accepted:
        """Accept a sub-agent run called `name`; spawn settings in `more`."""
        agent = more.pop("agent", "main")
        message = {key: more.pop(key) for key in ("parent_run", "timeout_s") if key in more}
        return await self.services.runs.accept(
            NewMessage(
                f"run-{name}", f"agent:{agent}:subagent:{name}", f"do {name}", lane="subagent", kind="task",
                spawn=SpawnInfo(parent, depth, **more), **message,
            )
        )  # fmt: skip

    async def hire(self, session: str = "agent:main:main") -> Worker:
        """The next worker the supervisor starts for a session, connected."""
        seen = 0
        while True:
            for born in self.supervisor.born[seen:]:
                if born.session == session and born.spawn not in self.hired:
                    return Worker(self, born)
            seen = len(self.supervisor.born)
            await self.supervisor.wait_for(seen + 1)

    async def take(self, session: str = "agent:main:main") -> tuple[Worker, Assignment]:
        """A new worker for a session with its run."""
        worker = await self.hire(session)
        return worker, await worker.next()

    async def settle(self) -> None:
        """Let everything that is under way come to rest: writes in the other thread, and the tasks they wake."""
        for _ in range(3):
            await self.services.database.write(lambda db: None)
            await trio.testing.wait_all_tasks_blocked()

    def texts(self, session: str = "agent:main:main") -> list[tuple[str, str]]:
        """The transcript as (role, text)."""
        messages, _ = self.services.sessions.history(session)
        return [(message["role"], message["content"][0]["text"]) for message in messages]

    def state(self, run_id: str) -> str:
        run = self.services.runs.snapshot(run_id)
        assert run is not None
        return run.state


@asynccontextmanager
async def open_box(
    state_dir: Path,
    *,
    live: Sequence[Worker] = (),
    generation: int = 1,
    tree: dict[str, Any] | None = None,
    quarantined: dict[str, str] | None = None,
    clock: Callable[[], float] = wall_clock,
) -> AsyncIterator[Box]:
    """A gateway's services over `state_dir`; `live` workers survived an earlier one, `quarantined` agents are held.
    `tree` is the configuration."""
    supervisor, listener = TestSupervisor(), Listener()
    rows = [
        {"spawn": one.born.spawn, "agent": one.born.agent, "session": one.born.session, "pid": one.born.pid,
         "start": one.born.start}
        for one in live
    ]  # fmt: skip
    supervisor.born = [one.born for one in live]
    settings = settings_from(tree or {})
    more: dict[str, Any] = {"quarantined": quarantined, "clock": clock}
    async with open_services(settings, state_dir, supervisor, listener, rows, generation, **more) as services:
        box = Box(services, supervisor, listener)
        for one in live:
            one.box = box
        yield box


async def finished_turn(box: Box, text: str, answer: str) -> Worker:
    """One turn of the main session from beginning to end; its worker stays."""
    await box.send(text)
    worker, run = await box.take()
    await worker.finish(run, answer)
    return worker
