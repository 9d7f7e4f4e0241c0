"""The messages that arrive while a turn runs, and which of them it has taken.

Owns: the order of steered messages and that each is handed out once, however often the gateway sends it (it does so
again after a reconnect, and to every later attempt of the run)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import trio

MAX_WAITING = 10_000
"""Messages a turn may leave lying. What comes on top is not kept here: it is given back to the gateway as unread when
the run ends."""
COMPARED_CHARS = 100_000
"""Of a result, to see whether it was told before: the gateway cuts it behind that in an announcement."""


class Announce(msgspec.Struct, frozen=True):
    """What a finished sub-agent left: read from the provenance of a message, which is the gateway's word.

    `status` is ok, error or timeout; `result` is the child's reply (what it had said so far when it was cut short),
    `error` says what went wrong."""

    child_session_key: str
    run_id: str
    status: str
    result: str
    label: str | None = None
    task_name: str | None = None
    error: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One message. `provenance` says who sent it and cannot be claimed by the sender; `text` is what was sent."""

    text: str
    provenance: Mapping[str, Any]
    id: int = 0

    @property
    def announce(self) -> Announce | None:
        """The finished sub-agent this message tells about, or None if it is any other message."""
        return announce_in(self.provenance)

    @property
    def sender(self) -> str | None:
        """The session that sent it, or None when it did not come from a session."""
        return self.provenance.get("sourceSessionKey")


def announce_in(provenance: Mapping[str, Any]) -> Announce | None:
    """The announcement in a message's provenance, if it is one."""
    if provenance.get("sourceTool") != "sessions_spawn" or "childRunId" not in provenance:
        return None
    return Announce(
        child_session_key=str(provenance.get("sourceSessionKey", "")),
        run_id=str(provenance["childRunId"]),
        status=str(provenance.get("status", "unknown")),
        result=str(provenance.get("result") or ""),
        label=provenance.get("label"),
        task_name=provenance.get("taskName"),
        error=provenance.get("error"),
    )


class Inbox:
    """Iterate to take messages, waiting for each: `async for message in inbox`. It ends only when the turn stops
    asking."""

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque()
        self._seen: set[int] = set()
        self._too_many: list[int] = []
        self._shown: Message | None = None
        self._told: set[tuple[str, ...]] = set()
        self._arrived = trio.Event()

    def put(self, message: Message) -> None:
        """A message arrived; one that was here before is ignored."""
        if message.id in self._seen:
            return
        self._seen.add(message.id)
        if self._is_told(message):
            return
        if len(self._waiting) >= MAX_WAITING:
            self._too_many.append(message.id)
            return
        self._waiting.append(message)
        self._arrived.set()

    def unread(self) -> list[int]:
        """Ids of the messages nobody took."""
        return [message.id for message in self._waiting] + self._too_many

    def get_nowait(self) -> Message | None:
        """The next message, or None when there is none yet."""
        self._shown = None
        return self._waiting.popleft() if self._waiting else None

    def withdraw(self, told: Iterable[Announce]) -> None:
        """The turn is told these results another way: announcements of the same, also one that is still on its way,
        count as taken; not one that somebody has peeked at and is about to take. A sub-agent whose message was parked
        and then tried again ends a second time: what it announces then is news."""
        self._told.update(map(_essence, told))
        self._waiting = deque(one for one in self._waiting if one is self._shown or not self._is_told(one))

    def _is_told(self, message: Message) -> bool:
        return message.announce is not None and _essence(message.announce) in self._told

    async def peek(self) -> Message:
        """The next message, left where it is: it stays unread until it is taken."""
        while not self._waiting:
            if self._arrived.is_set():
                self._arrived = trio.Event()
            await self._arrived.wait()
        self._shown = self._waiting[0]
        return self._shown

    async def get(self, seconds: float = math.inf) -> Message | None:
        """The next message; None when `seconds` pass without one."""
        with trio.move_on_after(seconds):
            await self.peek()
        return self.get_nowait()

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> Message:
        await trio.lowlevel.checkpoint()
        message = await self.get()
        assert message is not None  # without a timeout there is always one
        return message


def _essence(announce: Announce) -> tuple[str, ...]:
    """What makes two tellings of a result the same."""
    return announce.run_id, announce.status, announce.error or "", announce.result[:COMPARED_CHARS]
