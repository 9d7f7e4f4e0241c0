"""What a transaction did, told to memory: steps return these, the engine applies them in commit order. Pure.

Owns the vocabulary between the disk and the engine; whatever a step changes and nobody tells is not known before the
next start."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from gateway.store.mailbox import MailRecord
from gateway.store.runs import RunRecord
from gateway.store.sessions import Message

T = TypeVar("T")


class Queued(msgspec.Struct, frozen=True):
    """A run waits to be started: a new one (`created`), one to try again, or one whose message came back unread."""

    run: RunRecord
    owner: str
    created: bool = False


class Steered(msgspec.Struct, frozen=True):
    """The message of `run` is given to `host`, the turn in progress on its session."""

    run: RunRecord
    owner: str
    host: RunRecord
    mail: MailRecord


class Leased(msgspec.Struct, frozen=True):
    """A worker has the run."""

    run: RunRecord


class Ended(msgspec.Struct, frozen=True):
    """A run has ended. `by_worker`: its worker said so, and needs not be told."""

    run: RunRecord
    by_worker: bool = False


class Said(msgspec.Struct, frozen=True):
    """A transcript has grown."""

    message: Message


class SessionChanged(msgspec.Struct, frozen=True):
    """A session's row is different; `reason` as in the event sessions.changed."""

    key: str
    reason: str


Change = Queued | Steered | Leased | Ended | Said | SessionChanged


class Outcome(msgspec.Struct, Generic[T]):
    """A step's answer for its caller, and its changes for the engine."""

    value: T
    changes: list[Change] = msgspec.field(default_factory=list)
