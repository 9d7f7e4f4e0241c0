"""The runs that have not ended, in memory: what the engine decides by without asking the disk.

Owns `Active` and the counts by state. Follows the disk: changed only when a transaction has told so, or for the two
states that are memory's own (starting, waiting)."""

from __future__ import annotations

from collections import Counter

import msgspec

from gateway.services.lanes import Ticket
from gateway.services.run_state import State
from gateway.store.runs import RunRecord


class Active(msgspec.Struct, eq=False):
    """One run. `host`: the turn it was steered into. `waits`: how many of its tool calls wait. `heard`: whether this
    lease's worker has said anything. `told`: events published. `progress`: when it gave its last sign, in Trio's
    time."""

    id: str
    session: str
    agent: str
    kind: str
    lane: str
    owner: str
    order: int
    sender: str
    state: State
    parent_session: str | None
    attempt: int = 0
    spawn: str | None = None
    host: str | None = None
    waits: int = 0
    heard: bool = False
    told: int = 0
    progress: float = 0.0

    @property
    def ticket(self) -> Ticket:
        """Its place in the lanes."""
        return Ticket(self.id, self.session, self.lane, self.owner, self.order, self.sender)


def active_of(run: RunRecord, owner: str) -> Active:
    """The board's view of a row."""
    return Active(
        run.id, run.session, run.agent, run.kind, run.lane, owner, run.seq, run.sender, State(run.state),
        run.parent_session, run.attempt, run.spawn,
    )  # fmt: skip


class Board:
    """Active runs by id, and the one in progress of each session."""

    def __init__(self) -> None:
        self._runs: dict[str, Active] = {}
        self._current: dict[str, str] = {}
        self._children: Counter[str] = Counter()

    def get(self, run_id: str) -> Active | None:
        return self._runs.get(run_id)

    def add(self, run: Active) -> None:
        """A new run, or one that is there already (then nothing happens)."""
        if run.id not in self._runs:
            self._runs[run.id] = run
            if run.kind == "task" and run.parent_session:
                self._children[run.parent_session] += 1

    def remove(self, run_id: str) -> Active | None:
        """Forget a run that has ended."""
        run = self._runs.pop(run_id, None)
        if run is None:
            return None
        self.set_back(run)
        if run.kind == "task" and run.parent_session:
            self._children[run.parent_session] -= 1
            if not self._children[run.parent_session]:
                del self._children[run.parent_session]
        return run

    def set_current(self, run: Active) -> None:
        """This run is the one in progress on its session."""
        self._current[run.session] = run.id

    def set_back(self, run: Active) -> None:
        """It is not in progress any more."""
        if self._current.get(run.session) == run.id:
            del self._current[run.session]

    def current(self, session: str) -> Active | None:
        """The run in progress (starting, running, waiting) on a session."""
        run_id = self._current.get(session)
        return self._runs.get(run_id) if run_id else None

    def busy(self) -> list[str]:
        """The sessions on which a run is in progress."""
        return list(self._current)

    def children(self, session: str) -> int:
        """Unfinished sub-agent runs this session started."""
        return self._children[session]

    def of_agent(self, agent: str) -> list[Active]:
        """All runs of an agent, oldest first."""
        return sorted((run for run in self._runs.values() if run.agent == agent), key=lambda run: run.order)

    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        return dict(Counter(str(run.state) for run in self._runs.values()))
