"""Which queued runs may start now. Pure: no clock, no task, no file.

Owns the caps. Rules: one run per session at a time; what one sender told a session goes in the order it came, in
whatever lanes; a lane has so many slots; inside a lane the owners (parent sessions) take turns, so that two hundred
children of one cannot starve another; a run that waits holds no slot, and takes its slot back even when that goes over
the cap, because it must be able to end. A child never queues in its parent's lane (see `lane_of`)."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

LANE_CAPS = {"cron": 8, "cron-nested": 8, "background": 3}
"""Slots of lanes nobody configures (OpenClaw 2026.9.6); any other lane, such as nested:<session>, has one."""


class Ticket(NamedTuple):
    """A run that wants to start. `order` is the order of acceptance, `sender` whose message it is."""

    run: str
    session: str
    lane: str
    owner: str
    order: int
    sender: str


def lane_of(wanted: str, depth: int) -> str:
    """The lane a run queues in. Sub-agents queue with those of their own depth: parents that wait for children can then
    never hold the slots these need."""
    return f"subagent:{max(depth, 1)}" if wanted == "subagent" else wanted


def caps_of(main: int, subagent: int) -> Callable[[str], int]:
    """Slots by lane, given the two configured numbers."""

    def cap(lane: str) -> int:
        if lane == "main":
            return main
        return subagent if lane.startswith("subagent:") else LANE_CAPS.get(lane, 1)

    return cap


class Lanes:
    """Tickets that wait and slots that are held."""

    def __init__(self, cap: Callable[[str], int]) -> None:
        self.cap = cap
        # lane -> owner -> session -> tickets. Dictionaries keep order: first is next.
        self._waiting: dict[str, dict[str, dict[str, deque[Ticket]]]] = {}
        self._queued: dict[str, Ticket] = {}
        self._told: dict[tuple[str, str], list[int]] = {}  # (session, sender) -> orders of its tickets, oldest first
        self._holding: dict[str, Ticket] = {}
        self._paused: set[str] = set()
        self._busy: set[str] = set()
        self._in_use: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._queued)

    def __contains__(self, run: str) -> bool:
        """Whether a run is queued here."""
        return run in self._queued

    def add(self, ticket: Ticket) -> None:
        """Queue a run. One that was here before keeps its place before younger ones of its session."""
        if ticket.run in self._queued or ticket.run in self._holding:
            return
        self._queued[ticket.run] = ticket
        insort(self._told.setdefault((ticket.session, ticket.sender), []), ticket.order)
        owners = self._waiting.setdefault(ticket.lane, {})
        line = owners.setdefault(ticket.owner, {}).setdefault(ticket.session, deque())
        if not line or line[-1].order <= ticket.order:
            line.append(ticket)  # nearly always: looking through a thousand that wait would cost each of them as much
            return
        place = next(index for index, other in enumerate(line) if other.order > ticket.order)
        line.insert(place, ticket)

    def load(self, lane: str) -> tuple[int, int]:
        """Slots in use and slots there are."""
        return self._in_use.get(lane, 0), self.cap(lane)

    def start(self) -> list[str]:
        """Everything that may start now; each holds its session and a slot from here on."""
        started: list[str] = []
        for lane in list(self._waiting):
            cap = self.cap(lane)
            while self._in_use.get(lane, 0) < cap and (ticket := self._next(lane)):
                self.hold(ticket)
                started.append(ticket.run)
        return started

    def hold(self, ticket: Ticket) -> None:
        """Let a run have its slot whatever the cap: it is running already."""
        self._remove(ticket.run)
        self._holding[ticket.run] = ticket
        self._busy.add(ticket.session)
        self._in_use[ticket.lane] = self._in_use.get(ticket.lane, 0) + 1

    def pause(self, run: str) -> None:
        """The run waits for something: others may use its slot. Its session stays busy."""
        if run in self._holding and run not in self._paused:
            self._paused.add(run)
            self._give_back(self._holding[run].lane)

    def resume(self, run: str) -> None:
        """The run goes on."""
        if run in self._paused:
            self._paused.remove(run)
            lane = self._holding[run].lane
            self._in_use[lane] = self._in_use.get(lane, 0) + 1

    def release(self, run: str) -> None:
        """The run has ended, is queued again, or is not to start: forget it."""
        self._remove(run)
        ticket = self._holding.pop(run, None)
        if ticket is None:
            return
        self._busy.discard(ticket.session)
        if run in self._paused:
            self._paused.remove(run)
        else:
            self._give_back(ticket.lane)

    def _give_back(self, lane: str) -> None:
        self._in_use[lane] -= 1
        if not self._in_use[lane]:
            del self._in_use[lane]

    def _next(self, lane: str) -> Ticket | None:
        """The next ticket of a lane whose session is free, and of whose sender nothing older waits there in another
        lane; its owner goes to the end of the line."""
        owners = self._waiting.get(lane, {})
        for owner, sessions in owners.items():
            for session, line in sessions.items():
                first = line[0]
                if session not in self._busy and self._told[session, first.sender][0] == first.order:
                    owners[owner] = owners.pop(owner)
                    sessions[session] = sessions.pop(session)
                    return first
        return None

    def _remove(self, run: str) -> None:
        ticket = self._queued.pop(run, None)
        if ticket is None:
            return
        told = self._told[ticket.session, ticket.sender]
        told.remove(ticket.order)
        if not told:
            del self._told[ticket.session, ticket.sender]
        owners = self._waiting[ticket.lane]
        sessions = owners[ticket.owner]
        sessions[ticket.session].remove(ticket)
        if not sessions[ticket.session]:
            del sessions[ticket.session]
        if not sessions:
            del owners[ticket.owner]
        if not owners:
            del self._waiting[ticket.lane]
