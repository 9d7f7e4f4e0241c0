"""Every method there is, by name. Two rows of one name are refused at import."""

from __future__ import annotations

from gateway.protocol.calls import agents, chat, cron, database, devices, mailbox, runs, sessions, system, tools, worker
from gateway.protocol.calls.row import Row


def _collect(*families: tuple[Row, ...]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for row in (row for family in families for row in family):
        if row.name in rows:
            raise AssertionError(f"two rows are named {row.name}")
        rows[row.name] = row
    return rows


ROWS = _collect(
    system.ROWS,
    database.ROWS,
    agents.ROWS,
    sessions.ROWS,
    chat.ROWS,
    runs.ROWS,
    mailbox.ROWS,
    cron.ROWS,
    tools.ROWS,
    worker.ROWS,
    devices.ROWS,
)
