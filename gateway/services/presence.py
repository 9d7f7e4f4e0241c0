"""Which clients are here, as people see it: one row for each connection of an app, and one for the gateway itself.

Owns the rows. Programs that come and go (the command line, probes, workers and their tools) are not told of. A client
that has left is told of for a while. Decides nothing: every word but the connection's identity is the client's own."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable

import msgspec

from gateway.auth.principal import Principal
from gateway.protocol.calls.system import Connect, Presence
from gateway.services.info import VERSION
from gateway.services.ports import Publisher
from gateway.services.timers import Timers

MODES = frozenset({"webchat", "ui", "node", "test"})
"""Modes of clients that stay (OpenClaw 2026.9.6)."""
GONE_MS = 300_000
"""How long a client that has left is told of."""
CHANGES_SECONDS = 0.1
MAX_ROWS = 200
MAX_TEXT = 128
"""Characters of anything a client says of itself that are told to others."""


class Attendance:
    """Rows by connection, newest last. `clock` gives wall milliseconds. Who comes and goes within a moment is told
    together: a thousand clients may come back at once."""

    def __init__(self, hub: Publisher, clock: Callable[[], float], timers: Timers) -> None:
        self._hub = hub
        self._clock = clock
        self._timers = timers
        self._untold = False
        self._here: dict[str, Presence] = {}
        self._gone: dict[str, Presence] = {}
        self._since = round(clock())

    def arrive(self, connection: str, principal: Principal, connect: Connect) -> None:
        """A connection was greeted."""
        if principal.bound or connect.client.mode not in MODES:
            return
        self._here[connection] = _row_of(principal, connect, round(self._clock()))
        while len(self._here) > MAX_ROWS:
            del self._here[next(iter(self._here))]
        self._change()

    def depart(self, connection: str) -> None:
        """A connection is over."""
        row = self._here.pop(connection, None)
        if row is not None:
            self._gone[connection] = msgspec.structs.replace(row, ts=round(self._clock()), reason="disconnect")
            while len(self._gone) > MAX_ROWS:
                del self._gone[next(iter(self._gone))]
            self._change()

    def rows(self) -> list[Presence]:
        """The gateway itself, then who is here and who has left lately, newest first, at most 200."""
        now = round(self._clock())
        self._gone = {name: row for name, row in self._gone.items() if now - row.ts < GONE_MS}
        others = sorted([*self._here.values(), *self._gone.values()], key=lambda row: -row.ts)
        return [self._self(now), *others[: MAX_ROWS - 1]]

    def _change(self) -> None:
        if not self._untold:
            self._untold = True
            self._timers.set("presence", CHANGES_SECONDS, self._tell)

    def _tell(self) -> None:
        self._untold = False
        self._hub.publish("presence", {"presence": self.rows()})

    def _self(self, now: int) -> Presence:
        host = socket.gethostname()
        return Presence(
            ts=now, mode="gateway", reason="self", text=f"Gateway: {host} · peergate {VERSION}", host=host,
            version=VERSION, platform=f"{platform.system().lower()} {os.uname().release}", online_since=self._since,
            device_family="Linux",
        )  # fmt: skip


def _row_of(principal: Principal, connect: Connect, now: int) -> Presence:
    client = connect.client
    name = _short(client.display_name) or _short(client.id) or "client"
    return Presence(
        ts=now,
        mode=client.mode,
        reason="connect",
        text=f"{name} · {client.mode}",
        host=_short(client.display_name),
        client_id=_short(client.id),
        ip=principal.address or None,
        version=_short(client.version),
        platform=_short(client.platform),
        device_family=_short(client.device_family),
        model_identifier=_short(client.model_identifier),
        time_zone=_short(client.time_zone),
        online_since=now,
        device_id=principal.device or None,
        roles=[principal.role],
        scopes=sorted(principal.scopes),
        instance_id=_short(client.instance_id),
    )


def _short(text: str | None) -> str | None:
    return text[:MAX_TEXT] if text else None
