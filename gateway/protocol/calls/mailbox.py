"""Rows about messages nobody is through with: see them, try a parked one again, drop it."""

from __future__ import annotations

from typing import Any, Literal

from gateway.protocol import scopes
from gateway.protocol.calls.row import Count, Params, Result, Row


class MailboxList(Params, frozen=True):
    """`id` (a message's number, or its run's id) names one, which is told whole and with the actions of its run. Else
    a page, oldest first: from behind the number `after`. `state`: new (waits, or its run is at work), taken (steered
    into another turn), dead (parked)."""

    id: str | None = None
    state: Literal["new", "taken", "dead"] | None = None
    session_key: str | None = None
    after: Count = 0
    limit: Count = 100


class OneMessage(Params, frozen=True):
    """`id` is a message's number, or its run's id."""

    id: str


class MailRow(Result, frozen=True):
    """One message and how its run stands. `actions` are what the run did outside: {name, effect, state: intent | done |
    failed | unknown, attempt, startedAt, result}."""

    id: int
    run_id: str
    session_key: str
    state: str
    text: str
    created_at: int
    agent_id: str | None = None
    kind: str | None = None
    sender: str | None = None
    attempts: int = 0
    run_state: str | None = None
    error: str | None = None
    taken_by: str | None = None
    provenance: dict[str, Any] | None = None
    actions: list[dict[str, Any]] | None = None


ROWS = (
    Row(
        "mailbox.list",
        scopes.READ,
        "Messages nobody is through with, and how many are parked.",
        MailboxList,
        result=dict[str, Any],
    ),
    Row("mailbox.retry", scopes.ADMIN, "Try a parked message again.", OneMessage, result=MailRow),
    Row("mailbox.drop", scopes.ADMIN, "Give a parked message up.", OneMessage, result=MailRow),
)
