"""What a turn said and the gateway has not yet got on disk. Pure.

Owns: the sequence numbers of a run's events and the bound on how many may wait. An event gets its number when it is
taken in, numbers have no gaps, and it is kept until it is acknowledged; so after a reconnect everything unacknowledged
is sent again and the gateway drops what it has. When the buffer is full the newest progress is dropped, counted, and
the count is said in the next event that fits."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

MAX_EVENTS = 2000
MAX_CHARS = 2 * 1024 * 1024
"""Text waiting for a gateway that is away. Results do not pass through here: they are never dropped."""
BATCH_EVENTS = 256
BATCH_CHARS = 128 * 1024
"""At most 512 KiB as UTF-8, so that a batch stays within a worker's frame (1 MiB)."""
PIECE_CHARS = 32 * 1024
"""Longer text is cut into several events, so that every event fits a batch."""


class Batch(NamedTuple):
    """Events in a row; `seq` is the number of the first."""

    seq: int
    events: list[dict[str, Any]]


class Outbox:
    """The unacknowledged events of one attempt of one run, numbered from 1."""

    def __init__(self, max_events: int = MAX_EVENTS, max_chars: int = MAX_CHARS) -> None:
        self._max_events = max_events
        self._max_chars = max_chars
        self._waiting: deque[tuple[dict[str, Any], int]] = deque()
        self._first = 1
        self._chars = 0
        self._dropped = 0
        self.dropped_total = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def acked(self) -> int:
        """The highest number the gateway has on disk."""
        return self._first - 1

    def add(self, stream: str, text: str, ts: float) -> None:
        """Take in something that was said at `ts` (milliseconds since the epoch)."""
        for start in range(0, len(text), PIECE_CHARS):
            self._add_piece(stream, text[start : start + PIECE_CHARS], ts)

    def batch(self) -> Batch | None:
        """The oldest unacknowledged events that fit one call, or None when there are none."""
        if not self._waiting:
            return None
        events: list[dict[str, Any]] = []
        room = BATCH_CHARS
        for event, size in self._waiting:
            if len(events) == BATCH_EVENTS or size > room:
                break
            events.append(event)
            room -= size
        return Batch(self._first, events)

    def acknowledge(self, seq: int) -> None:
        """Everything up to `seq` is on disk. A number beyond what was sent counts as all of it."""
        while self._waiting and self._first <= seq:
            _, size = self._waiting.popleft()
            self._chars -= size
            self._first += 1

    def say_what_was_dropped(self, ts: float) -> None:
        """Put the count of dropped events in, now that something was acknowledged. Nothing when nothing was dropped."""
        if self._dropped and len(self._waiting) < self._max_events:
            count, self._dropped = self._dropped, 0
            text = f"{count} progress events were dropped: the gateway did not take them fast enough"
            self._append(
                {"stream": "log", "data": {"text": text, "dropped": count}, "ts": ts}, 0
            )  # counted as an event, not as text

    def _add_piece(self, stream: str, text: str, ts: float) -> None:
        self.say_what_was_dropped(ts)
        if len(self._waiting) >= self._max_events or self._chars + len(text) > self._max_chars:
            self._dropped += 1
            self.dropped_total += 1
            return
        data = {"delta": text} if stream == "assistant" else {"text": text}
        self._append({"stream": stream, "data": data, "ts": ts}, len(text))

    def _append(self, event: dict[str, Any], size: int) -> None:
        self._waiting.append((event, size))
        self._chars += size
