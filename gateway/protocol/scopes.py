"""Scopes: the words authority is written in, and which implies which.

Operator scopes are OpenClaw's (2026.9.6, operator-scope-compat). Two are ours and can never be granted to an operator:
`worker` (the ticketed connection of a worker process) and `session` (acting as one session through the session tools:
a worker, or a tool it started)."""

from __future__ import annotations

from collections.abc import Iterable

ADMIN = "operator.admin"
READ = "operator.read"
WRITE = "operator.write"
APPROVALS = "operator.approvals"
QUESTIONS = "operator.questions"
PAIRING = "operator.pairing"
TALK = "operator.talk"
TALK_SECRETS = "operator.talk.secrets"
SESSIONS_READ = "operator.sessions.read"
SESSIONS_WRITE = "operator.sessions.write"
WORKER = "worker"
SESSION = "session"
PUBLIC = "public"
"""What every admitted peer may call."""

OPERATOR_SCOPES = frozenset({ADMIN, READ, WRITE, APPROVALS, PAIRING})
"""What an operator of this machine has: what there is to do here."""
KNOWN_SCOPES = OPERATOR_SCOPES | {QUESTIONS, TALK, TALK_SECRETS, SESSIONS_READ, SESSIONS_WRITE}
"""What a client may ask for. Some open nothing here yet; a client that holds them elsewhere asks for them all the
same."""

_IMPLIES = {
    ADMIN: KNOWN_SCOPES,
    WRITE: frozenset({WRITE, READ, TALK, SESSIONS_READ, SESSIONS_WRITE}),
    READ: frozenset({READ, SESSIONS_READ}),
    SESSIONS_WRITE: frozenset({SESSIONS_WRITE, SESSIONS_READ}),
}


def expand(scopes: frozenset[str]) -> frozenset[str]:
    """All scopes that the given ones imply, themselves included."""
    return scopes.union(*(_IMPLIES.get(scope, frozenset()) for scope in scopes))


def uncovered(wanted: Iterable[str], granted: Iterable[str]) -> list[str]:
    """Those of `wanted` that `granted` does not imply, in the order they were wanted."""
    have = expand(frozenset(granted))
    return [scope for scope in dict.fromkeys(wanted) if scope not in have]
