"""Rows about the system itself: health, status, processes, logs, configuration, events, refusals."""

from __future__ import annotations

from typing import Any

from gateway.protocol import scopes
from gateway.protocol.calls.row import Count, Params, Result, Row


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


class AgentSummary(Result, frozen=True):
    """One configured agent as `agents.list` and `health` tell it."""

    id: str
    runtime: str
    name: str | None = None
    is_default: bool = False
    quarantined: bool = False
    stopped: bool = False
    workers: int = 0


class Health(Result, frozen=True):
    """`health`: is it well, and how busy. Times in milliseconds."""

    ok: bool
    ts: int
    uptime_ms: int
    version: str
    generation: int
    epoch: int
    default_agent_id: str
    agents: list[AgentSummary]
    sessions: dict[str, int]
    runs: dict[str, int]
    workers: int
    connections: int
    database: dict[str, Any]


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
    """`cursor` is a byte offset from an earlier answer; without one, the end of the file."""

    cursor: Count | None = None
    limit: Count = 200
    max_bytes: Count = 262_144


class RefusalsList(Params, frozen=True):
    code: str | None = None
    limit: Count = 100


ROWS = (
    Row("connect", scopes.PUBLIC, "Say hello; answered once, first.", Connect, hidden=True),
    Row("health", scopes.READ, "Is it well, and how busy.", result=Health),
    Row("status", scopes.READ, "Health, doors, configuration source and counters in one answer."),
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
