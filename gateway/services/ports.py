"""What the engine needs from outside itself: a supervisor, a connection, somebody to tell. Owns no behaviour.

The composition root passes the real ones; tests pass small ones of their own."""

from __future__ import annotations

from typing import Any, Protocol


class Born(Protocol):
    """A worker process the supervisor has started: its spawn id, pid and start time (clock ticks since boot)."""

    @property
    def spawn(self) -> str: ...

    @property
    def pid(self) -> int: ...

    @property
    def start(self) -> int: ...


class Supervisor(Protocol):
    """The supervisor as the engine sees it."""

    async def spawn(self, agent: str, session: str) -> Born:
        """Start a worker. Raises SpawnRefused (`reason`, `quarantined`) when there will be none."""

    def stop_worker(self, spawn: str, reason: str, grace: float) -> object:
        """End a worker's tree: SIGTERM, SIGKILL after `grace` seconds."""

    def hold(self, agent: str, on: bool, reason: str) -> object:
        """Put an agent in quarantine or release it."""

    async def processes(self) -> list[dict[str, Any]]:
        """The process table."""


class Publisher(Protocol):
    """Whoever tells subscribed connections what happened."""

    @property
    def listeners(self) -> int:
        """How many there are; with none, nobody needs to compose what they would hear."""

    def publish(self, event: str, payload: object, *, session: str | None = None, run: str | None = None) -> object:
        """Send `event` to everybody who may hear it; never waits. `run`: it is about a tool of this run."""

    def hear_sessions(self, connection: str, on: bool) -> object:
        """Whether a connection wants to hear of every session."""

    def hear_session(self, connection: str, key: str, on: bool) -> bool:
        """Whether a connection wants to hear of one session; False when it hears of too many already."""

    def follow(self, connection: str, run: str) -> object:
        """A connection has started a run, or awaits it."""

    def forget_run(self, run: str) -> object:
        """The run is over."""


class Peer(Protocol):
    """A worker's connection."""

    def post_event(self, event: str, payload: object) -> object:
        """Queue an event for this connection alone; never waits. A closed connection drops it."""


class WorkerIdentity(Protocol):
    """The part of a worker's principal the engine uses; the kernel and the spawn table said so."""

    @property
    def spawn(self) -> str | None: ...

    @property
    def agent(self) -> str | None: ...

    @property
    def session(self) -> str | None: ...

    @property
    def pid(self) -> int: ...

    @property
    def start(self) -> int | None: ...
