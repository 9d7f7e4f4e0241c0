"""Scopes: the words authority is written in, and which implies which.

Operator scopes are OpenClaw's. Two are ours and can never be granted to an operator: `worker` (the ticketed
connection of a worker process) and `session` (acting as one session through the session tools: a worker, or a tool it
started)."""

from __future__ import annotations

ADMIN = "operator.admin"
READ = "operator.read"
WRITE = "operator.write"
APPROVALS = "operator.approvals"
PAIRING = "operator.pairing"
WORKER = "worker"
SESSION = "session"
PUBLIC = "public"
"""What every admitted peer may call."""

OPERATOR_SCOPES = frozenset({ADMIN, READ, WRITE, APPROVALS, PAIRING})
_IMPLIES = {ADMIN: OPERATOR_SCOPES, WRITE: frozenset({WRITE, READ})}


def expand(scopes: frozenset[str]) -> frozenset[str]:
    """All scopes that the given ones imply, themselves included."""
    return scopes.union(*(_IMPLIES.get(scope, frozenset()) for scope in scopes))
