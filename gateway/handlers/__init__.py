"""Handlers: from a call's parameters to a service and back. No rules, no SQL.

Owns the whole table: every row but `connect` (which the connection itself answers) has exactly one handler."""

from __future__ import annotations

from gateway.handlers import agents, chat, cron, database, devices, mailbox, runs, sessions, system, tools, worker
from gateway.protocol.calls import ROWS
from gateway.router import Handler


def _collect(*families: dict[str, Handler]) -> dict[str, Handler]:
    handlers: dict[str, Handler] = {}
    for name, handler in (item for family in families for item in family.items()):
        if name in handlers:
            raise AssertionError(f"{name} has two handlers")
        handlers[name] = handler
    if handlers.keys() != ROWS.keys() - {"connect"}:
        raise AssertionError(f"rows and handlers differ: {handlers.keys() ^ (ROWS.keys() - {'connect'})}")
    return handlers


HANDLERS = _collect(
    system.HANDLERS,
    database.HANDLERS,
    agents.HANDLERS,
    sessions.HANDLERS,
    chat.HANDLERS,
    runs.HANDLERS,
    mailbox.HANDLERS,
    cron.HANDLERS,
    tools.HANDLERS,
    worker.HANDLERS,
    devices.HANDLERS,
)
