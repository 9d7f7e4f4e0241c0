"""The tables `idempotency`, `refusals` and `stopped_agents`: what must not happen twice, what was not allowed to
happen, and who is not to work until the next message."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

from gateway.store import many


def recall(db: sqlite3.Connection, scope: str, key: str) -> tuple[str, str] | None:
    """(hash of the arguments, result as JSON text) recorded under a key."""
    row = db.execute("SELECT params_hash, result FROM idempotency WHERE scope = ? AND key = ?", (scope, key)).fetchone()
    return (row[0], row[1]) if row else None


_KEPT = "idempotency AS kept ON kept.scope = asked.scope AND kept.key = asked.key"


def kept(db: sqlite3.Connection, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of these (scope, key) under which something is recorded."""
    found: set[tuple[str, str]] = set()
    for part in many.parts(keys):
        pairs = ", ".join(["(?, ?)"] * len(part))
        # Not `(scope, key) IN (VALUES …)`: for that SQLite reads the whole index.
        sql = f"WITH asked (scope, key) AS (VALUES {pairs}) SELECT asked.scope, asked.key FROM asked CROSS JOIN {_KEPT}"
        found.update(db.execute(sql, tuple(chain.from_iterable(part))))
    return found


def remember(db: sqlite3.Connection, scope: str, key: str, params_hash: str, result: str, at: float) -> None:
    """Record a result; one that is there already stays."""
    db.execute(
        "INSERT OR IGNORE INTO idempotency (scope, key, params_hash, result, at) VALUES (?, ?, ?, ?, ?)",
        (scope, key, params_hash, result, at),
    )


def forget(db: sqlite3.Connection, before: float, limit: int) -> int:
    """Drop up to `limit` results older than `before`, but none that a run which has not ended, or is parked, may ask
    for again: the keys of a session's own calls begin with the run."""
    # The states of the index mailbox_open, in its words: without them SQLite reads all the mail there ever was.
    sql = """DELETE FROM idempotency WHERE (scope, key) IN (
        WITH parked AS MATERIALIZED (
            SELECT session, run FROM mailbox WHERE state IN ('new', 'taken', 'dead') AND state = 'dead')
        SELECT scope, key FROM idempotency WHERE at < ?
        AND NOT EXISTS (SELECT 1 FROM runs WHERE session = scope AND ended_at IS NULL
            AND substr(key, 1, length(id) + 1) = id || ':')
        AND NOT EXISTS (SELECT 1 FROM parked WHERE session = scope AND substr(key, 1, length(run) + 1) = run || ':')
        LIMIT ?)"""
    return db.execute(sql, (before, limit)).rowcount


def add_refusal(
    db: sqlite3.Connection, at: float, code: str, door: str, peer: str, reason: str, method: str | None
) -> None:
    db.execute(
        "INSERT INTO refusals (at, code, door, peer, reason, method) VALUES (?, ?, ?, ?, ?, ?)",
        (at, code, door, peer, reason, method),
    )


def newest_refusals(
    db: sqlite3.Connection, code: str | None, limit: int, hidden: str | None = None
) -> list[dict[str, Any]]:
    """Newest first, as clients see them; without those at doors whose name begins with `hidden`."""
    sql = """
        SELECT at, code, door, peer, reason, method FROM refusals
        WHERE (:code IS NULL OR code = :code) AND (:hidden IS NULL OR substr(door, 1, length(:hidden)) <> :hidden)
        ORDER BY id DESC LIMIT :limit
    """
    rows = db.execute(sql, {"code": code or None, "hidden": hidden, "limit": limit})
    return [
        {"ts": round(at), "code": word, "door": door, "peer": peer, "reason": reason}
        | ({"method": method} if method else {})
        for at, word, door, peer, reason, method in rows
    ]


def count_refusals(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT code, count(*) FROM refusals GROUP BY code"))


def trim_refusals(db: sqlite3.Connection, keep: int) -> int:
    """Keep the newest `keep`."""
    sql = "DELETE FROM refusals WHERE id <= (SELECT max(id) FROM refusals) - ?"
    return db.execute(sql, (keep,)).rowcount


def stop_agent(db: sqlite3.Connection, agent: str, reason: str, at: float) -> None:
    """Remember that an operator stopped an agent."""
    db.execute("INSERT OR REPLACE INTO stopped_agents (agent, reason, at) VALUES (?, ?, ?)", (agent, reason, at))


def unstop_agent(db: sqlite3.Connection, agent: str) -> None:
    """It may work again."""
    db.execute("DELETE FROM stopped_agents WHERE agent = ?", (agent,))


def stopped_agents(db: sqlite3.Connection) -> list[str]:
    """Who was stopped and got no message since."""
    return [agent for (agent,) in db.execute("SELECT agent FROM stopped_agents ORDER BY agent")]
