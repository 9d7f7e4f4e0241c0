"""Who waits for something that comes with a name: the end of a run, a child's result for its parent's session.

Owns the events. A name is known only while somebody waits for it: names never come again, and one kept for each would
be memory that only grows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Arrivals:
    """Waiting tasks by name. Bounded by them: each has one event, and its place goes with it."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[trio.Event]] = {}

    def __len__(self) -> int:
        """How many names are waited for."""
        return len(self._waiting)

    @contextmanager
    def expecting(self, name: str) -> Iterator[trio.Event]:
        """An event that is set by the first `tell` of this name within the block."""
        event = trio.Event()
        events = self._waiting.setdefault(name, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events and self._waiting.get(name) is events:
                del self._waiting[name]

    def tell(self, name: str) -> None:
        """It has come: everybody who expects it wakes."""
        for event in self._waiting.pop(name, ()):
            event.set()
