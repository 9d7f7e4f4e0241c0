"""What a transaction did, told to memory: steps return these, the engine applies them in commit order. Pure.

Owns the vocabulary between the disk and the engine; whatever a step changes and nobody tells is not known before the
next start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.store.mailbox import MailRecord
from gateway.store.runs import RunRecord
from gateway.store.sessions import Message

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Queued:
    """A run waits to be started: a new one (`created`), one to try again, or one whose message came back unread."""

    run: RunRecord
    owner: str
    created: bool = False


@dataclass(frozen=True, slots=True)
class Steered:
    """The message of `run` is given to `host`, the turn in progress on its session."""

    run: RunRecord
    owner: str
    host: RunRecord
    mail: MailRecord


@dataclass(frozen=True, slots=True)
class Leased:
    """A worker has the run."""

    run: RunRecord


@dataclass(frozen=True, slots=True)
class Ended:
    """A run has ended. `by_worker`: its worker said so, and needs not be told."""

    run: RunRecord
    by_worker: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """A transcript has grown."""

    message: Message


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """A session's row is different; `reason` as in the event sessions.changed."""

    key: str
    reason: str


Change = Queued | Steered | Leased | Ended | Said | SessionChanged


@dataclass(slots=True)
class Outcome(Generic[T]):
    """A step's answer for its caller, and its changes for the engine."""

    value: T
    changes: list[Change] = field(default_factory=list)
