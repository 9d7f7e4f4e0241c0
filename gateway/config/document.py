"""The resolved configuration as one JSON document: what `--resolve` prints, the supervisor obeys and the gateway reads.

Owns the document's shape. Pure, and light to import: the gateway starts with it."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from gateway.config.agent_settings import Limits, Runtime
from gateway.config.gateway_settings import Bind
from gateway.config.section import Scope
from gateway.config.settings import Logging, Output, Settings, UidRange


class Part(Struct, rename="camel", kw_only=True, frozen=True):
    """A piece of the supervisor's part."""


class Operators(Part, frozen=True):
    """Uids with every operator scope, and the gid that may read and write."""

    uids: tuple[int, ...]
    gid: int | None


class OuterDoor(Part, frozen=True):
    """Where the outer door listens. `custom_bind_host` holds the addresses one by one."""

    bind: Bind
    port: int
    custom_bind_host: tuple[str, ...]


class AgentPart(Part, frozen=True):
    """What the supervisor needs to start one agent's workers. `limit_keys`: where each of the limits is written."""

    runtime: Runtime
    cwd: str | None
    workspace: str | None
    env: dict[str, str]
    limits: Limits
    limit_keys: dict[str, str]
    subprocess_gateway: bool
    idle_seconds: int


class SupervisorPart(Part, frozen=True):
    """Everything the supervisor is told; it knows no other configuration."""

    spawn_method: Literal["zygote", "exec"]
    warm_spares: int
    stop_seconds: int
    cgroup: Literal["auto", "off"]
    heartbeat_seconds: int
    gateway: OuterDoor
    operators: Operators
    foreign: dict[str, tuple[Scope, ...]]
    uids: UidRange | None
    output: Output
    logging: Logging
    agents: dict[str, AgentPart]


class Resolved(Part, frozen=True):
    """The document. It holds the secrets, so it travels over a pipe and is never written to a file."""

    source: str | None
    warnings: tuple[str, ...]
    supervisor: SupervisorPart
    settings: Settings


def settings_from_resolved(document: bytes) -> Settings:
    """The settings in the document printed by `--resolve`. Raises msgspec.DecodeError for anything else."""
    return msgspec.json.decode(document, type=Resolved).settings
