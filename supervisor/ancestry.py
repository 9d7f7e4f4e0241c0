"""From a process up to whoever answers for it: the walk, without any I/O of its own.

A parent is read through its child's pidfd and opened by number, so the number is checked again afterwards; and once the
top is reached every level is read once more, for a process in the middle may have died and its number been given to
another. What changed meanwhile starts the walk again; one that never holds still, or is deeper than any honest tree, is
refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

MAX_LEVELS = 64
MAX_RESTARTS = 3

Entry = TypeVar("Entry")
EntryOut = TypeVar("EntryOut", covariant=True)


class Gone(Exception):
    """The process asked about has ended."""


class Answer(Enum):
    """Where a walk ended. FOUND: at an ancestor the table knows."""

    FOUND = "found"
    SUPERVISOR = "supervisor"
    OUTSIDE = "outside"
    UNSTABLE = "unstable ancestry"
    TOO_DEEP = f"more than {MAX_LEVELS} ancestors"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Found(Generic[Entry]):
    """`entry` is what the table knows the nearest known ancestor as; None unless the answer is FOUND."""

    answer: Answer
    entry: Entry | None = None


class World(Protocol[EntryOut]):
    """What a walk asks of the kernel and of the table. A handle is a pidfd, or a test's stand-in for one."""

    supervisor: int

    def open(self, pid: int) -> int:
        """A handle on the process that has this number now. Raises Gone."""

    def close(self, handle: int) -> None: ...

    def parent(self, handle: int) -> int:
        """The number of its parent, 0 when that lies outside our PID namespace. Raises Gone."""

    def known(self, handle: int) -> EntryOut | None:
        """The table's entry for the process, if any."""


def walk(start: int, world: World[Entry]) -> Found[Entry]:
    """Who answers for the process behind the handle `start`, which the table does not know itself."""
    for _ in range(1 + MAX_RESTARTS):
        with _handles(world) as opened:
            found = _climb(start, world, opened)
        if found is not None:
            return found
    return Found(Answer.UNSTABLE)


@contextmanager
def _handles(world: World[Entry]) -> Iterator[list[int]]:
    opened: list[int] = []
    try:
        yield opened
    finally:
        for handle in opened:
            world.close(handle)


def _climb(start: int, world: World[Entry], opened: list[int]) -> Found[Entry] | None:
    """One attempt; None when something moved."""
    links: list[tuple[int, int]] = []
    child = start
    while True:
        try:
            parent = world.parent(child)
        except Gone:
            return Found(Answer.DEAD) if child == start else None
        links.append((child, parent))
        if top := _top(parent, world):
            return top if _unchanged(links, world) else None
        if len(links) > MAX_LEVELS:
            return Found(Answer.TOO_DEEP)
        try:
            handle = world.open(parent)
        except Gone:
            return None
        opened.append(handle)
        if not _unchanged(links[-1:], world):
            return None  # the number we opened may be another process's by now
        entry = world.known(handle)
        if entry is not None:
            return Found(Answer.FOUND, entry) if _unchanged(links, world) else None
        child = handle


def _top(parent: int, world: World[Entry]) -> Found[Entry] | None:
    if parent == world.supervisor:
        return Found(Answer.SUPERVISOR)
    return Found(Answer.OUTSIDE) if parent in (0, 1) else None


def _unchanged(links: list[tuple[int, int]], world: World[Entry]) -> bool:
    try:
        return all(world.parent(child) == parent for child, parent in links)
    except Gone:
        return False
