"""Rows about the system itself: health, status, processes, logs, configuration, events, refusals."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.protocol import scopes
from gateway.protocol.calls.agents import AgentSummary
from gateway.protocol.calls.row import ABSENT, Count, Inert, Params, Result, Row


class ClientInfo(Params, frozen=True, forbid_unknown_fields=False):
    """What a client says of itself. Told in logs and presence; decides nothing. Each release of OpenClaw's clients adds
    fields: unknown ones are passed over here and in `connect`, and nowhere else."""

    id: str = "unknown"
    version: str = ""
    platform: str = ""
    mode: str = ""
    display_name: str | None = None
    device_family: str | None = None
    model_identifier: str | None = None
    time_zone: str | None = None
    instance_id: str | None = None


class DeviceProof(Params, frozen=True, forbid_unknown_fields=False):
    """A device's key and its signature over this connection's challenge (OpenClaw's payload v3 or v2). `id` is the
    SHA-256 of the raw public key in hexadecimal, key and signature are base64url, `signedAt` is in milliseconds."""

    id: str
    public_key: str
    signature: str
    signed_at: int
    nonce: str = ""


class ConnectAuth(Params, frozen=True, forbid_unknown_fields=False):
    """Secrets a remote client shows. Never logged."""

    token: str | None = None
    password: str | None = None
    device_token: str | None = None
    bootstrap_token: str | None = None

    def __repr__(self) -> str:
        return f"ConnectAuth({', '.join(name for name in self.__struct_fields__ if getattr(self, name))})"


class Connect(Params, frozen=True, forbid_unknown_fields=False):
    """The first call on every connection. On a Unix door the kernel says who the peer is: only a worker adds its
    `ticket`, and `device` and `auth` are not looked at. `events` asks for broadcasts there; a remote client has them
    without asking."""

    min_protocol: int = 3
    max_protocol: int = 4
    client: ClientInfo = ClientInfo()
    ticket: str | None = None
    events: bool = False
    role: str = "operator"
    scopes: list[str] | None = None
    caps: tuple[str, ...] = ()
    device: DeviceProof | None = None
    auth: ConnectAuth | None = None


class HealthProbe(Params, frozen=True):
    """`probe`: look now; else the answer may be a tenth of a second old."""

    probe: bool = False
    include_sensitive: Inert = ABSENT


class Recent(Result, frozen=True):
    """A session that was busy lately. `age` and `updatedAt` in milliseconds."""

    key: str
    updated_at: int
    age: int


class SessionsHealth(msgspec.Struct, rename="camel", frozen=True):
    """Sessions in numbers: `total` (and `count`, as OpenClaw calls it), the newest, and the file they are in."""

    total: int
    count: int
    path: str
    recent: list[Recent]


class Heartbeat(msgspec.Struct, rename="camel", frozen=True):
    """An agent's heartbeat; there is none here: it is always off, and what OpenClaw's clients read of it is empty."""

    enabled: bool = False
    every: str = "disabled"
    every_ms: int | None = None
    prompt: str = ""
    target: str = "none"
    ack_max_chars: int = 0


class AgentHealth(AgentSummary, frozen=True):
    """One agent in `health`. `agentId` is `id`, as OpenClaw calls it."""

    agent_id: str = ""
    heartbeat: Heartbeat | None = None
    sessions: SessionsHealth | None = None


class Health(Result, frozen=True):
    """`health`: is it well, and how busy. Times in milliseconds. There are no channels here: what is about them is
    empty."""

    ok: bool
    ts: int
    duration_ms: int
    uptime_ms: int
    version: str
    generation: int
    epoch: int
    default_agent_id: str
    heartbeat_seconds: int
    agents: list[AgentHealth]
    sessions: SessionsHealth
    runs: dict[str, int]
    workers: int
    connections: int
    database: dict[str, Any]
    channels: dict[str, Any]
    channel_order: list[str]
    channel_labels: dict[str, str]


class Presence(Result, frozen=True):
    """One client that is here, was here a moment ago, or the gateway itself (`mode` gateway). Times in milliseconds."""

    ts: int
    mode: str
    reason: str
    text: str
    host: str | None = None
    client_id: str | None = None
    ip: str | None = None
    version: str | None = None
    platform: str | None = None
    device_family: str | None = None
    model_identifier: str | None = None
    time_zone: str | None = None
    online_since: int | None = None
    device_id: str | None = None
    roles: list[str] | None = None
    scopes: list[str] | None = None
    instance_id: str | None = None


class ChannelsStatus(Params, frozen=True):
    channel: Inert = ABSENT
    probe: Inert = ABSENT
    timeout_ms: Inert = ABSENT


class StatusOf(Params, frozen=True):
    include_channel_summary: Inert = ABSENT
    include_cli_projection: Inert = ABSENT


class Process(Result, frozen=True):
    """One process of the system. `state` is the kernel's letter; memory is bytes; `pssBytes` is self-reported for
    workers, because the kernel hides the smaps of a non-dumpable process."""

    kind: str
    pid: int
    ppid: int
    uid: int
    state: str
    rss_bytes: int
    pss_bytes: int | None = None
    agent_id: str | None = None
    session_key: str | None = None
    command: str | None = None


class LogsTail(Params, frozen=True):
    """`cursor` is a byte offset from an earlier answer; without one, the end of the file. Lines about who comes through
    the outer door are told with `operator.pairing` only."""

    cursor: Count | None = None
    limit: Count = 200
    max_bytes: Count = 262_144


class RefusalsList(Params, frozen=True):
    """Refusals at the outer door are told one by one with `operator.pairing` only; they count for everybody."""

    code: str | None = None
    limit: Count = 100


ROWS = (
    Row("connect", scopes.PUBLIC, "Say hello; answered once, first.", Connect, hidden=True),
    Row("health", scopes.READ, "Is it well, and how busy.", HealthProbe, result=Health),
    Row("status", scopes.READ, "Health, doors, configuration source and counters in one answer.", StatusOf),
    Row("system-presence", scopes.READ, "Which clients are here.", result=list[Presence]),
    Row("gateway.identity.get", scopes.READ, "The gateway's own Ed25519 key."),
    Row("last-heartbeat", scopes.READ, "The last heartbeat; there is none, so null."),
    Row("channels.status", scopes.READ, "Chat channels; there are none.", ChannelsStatus),
    Row("node.list", scopes.READ, "Node devices; there are none."),
    Row(
        "system.processes", scopes.READ, "The process tree with agent, session, state and memory.", result=list[Process]
    ),
    Row("logs.tail", scopes.READ, "The last lines of the log, or those since a cursor.", LogsTail),
    Row("config.get", scopes.READ, "The configuration in force, secrets hidden."),
    Row(
        "refusals.list",
        scopes.READ,
        "Who was refused at a door, newest first, and how often each code occurred.",
        RefusalsList,
    ),
)
