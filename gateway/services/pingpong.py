"""Whether the reply to a message between two agents goes on as a message to the other one. Pure.

Owns the count: `provenance.pingPong {turn, most}` says which turn a message is, and how many there may be
(`session.agentToAgent.maxPingPongTurns`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

LAST_WORDS = frozenset({"REPLY_SKIP", "NO_REPLY"})
"""A reply that is exactly this ends the conversation (OpenClaw 2026.9.6)."""
PREFIX = "reply:"


class NextMessage(msgspec.Struct, frozen=True):
    """What is said next, to whom."""

    run_id: str
    session: str
    provenance: dict[str, Any]


def next_message(run_id: str, session: str, reply: str | None, provenance: Mapping[str, Any]) -> NextMessage | None:
    """The message that follows from the run's reply, or None when the conversation is over. Its id is made from the
    run's, so there is one at most."""
    count, other = provenance.get("pingPong"), provenance.get("sourceSessionKey")
    if not isinstance(count, Mapping) or not isinstance(other, str):
        return None
    turn, most = count.get("turn"), count.get("most")
    if not isinstance(turn, int) or not isinstance(most, int) or turn >= most:
        return None
    if not reply or reply.strip() in LAST_WORDS:
        return None
    told = {"kind": "inter_session", "sourceSessionKey": session, "sourceTool": "sessions_send"}
    return NextMessage(PREFIX + run_id, other, {**told, "pingPong": {"turn": turn + 1, "most": most}})
