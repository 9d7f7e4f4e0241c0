"""The supervisor's part of the configuration, typed; and how it is had: a short-lived `python -I -m gateway.config
--resolve`.

Owns: the resolved document. The supervisor never parses a file people write, so a defect of that parser cannot take it
along; what the parser prints was validated there, so a document that does not fit here is a defect and raises."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from supervisor.resolver import start_resolver
from supervisor.sockets import Door
from supervisor.spawn import SpawnTable

EX_CONFIG = 78
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
RESOLVE_SECONDS = 30.0
F_SEAL_ALL = 0x000F  # seal, shrink, grow, write: fcntl(2)


class Unresolved(Exception):
    """There is no valid configuration; the text is for people. `code` is what the supervisor ends with at start."""

    def __init__(self, text: str, code: int = EX_CONFIG):
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class UidRange:
    """The uids agents may get, and their group."""

    first: int
    count: int
    gid: int

    def __contains__(self, uid: int) -> bool:
        return uid in self.members

    @property
    def members(self) -> range:
        """The uids."""
        return range(self.first, self.first + self.count)


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What a worker of one agent is started with. `limits` holds only those that are set, under their configured
    names; `limit_keys` says of each there is where it is written, or would be."""

    runtime: dict[str, Any]
    cwd: str | None = None
    workspace: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    limit_keys: dict[str, str] = field(default_factory=dict)
    subprocess_gateway: bool = True
    idle_seconds: float = 60.0

    def limit_key(self, name: str) -> str:
        """The configuration key of a limit, in full where it is known."""
        return self.limit_keys.get(name, f"limits.{name}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the supervisor itself is told. Seconds, bytes."""

    agents: dict[str, AgentSettings]
    spawn_method: str = "zygote"
    warm_spares: int = 2
    stop_seconds: float = 8.0
    cgroup: str = "auto"
    heartbeat_seconds: float = 5.0
    operator_uids: tuple[int, ...] = ()
    operator_gid: int | None = None
    foreign: bool = False
    bind: str = "off"
    port: int = 0
    custom_hosts: tuple[str, ...] = ()
    uids: UidRange | None = None
    lines_per_second: float = 200
    bytes_per_second: float = 262_144
    log_level: str = "info"
    log_file: bool | str = True
    log_max_bytes: int = 10_485_760
    log_backups: int = 5


@dataclass(frozen=True, slots=True)
class Resolved:
    """One valid configuration: our part, the whole document as the gateway gets it, its warnings, the file it came
    from."""

    settings: Settings
    document: bytes
    warnings: tuple[str, ...] = ()
    source: str | None = None


def _agent(values: dict[str, Any]) -> AgentSettings:
    return AgentSettings(
        runtime=values["runtime"],
        cwd=values.get("cwd"),
        workspace=values.get("workspace"),
        env=values.get("env") or {},
        limits={name: limit for name, limit in (values.get("limits") or {}).items() if limit is not None},
        limit_keys=values.get("limitKeys") or {},
        subprocess_gateway=values.get("subprocessGateway", True),
        idle_seconds=values.get("idleSeconds", 60.0),
    )


def settings_from(part: dict[str, Any]) -> Settings:
    """The typed form of the document's `supervisor` part. Raises KeyError or TypeError when it is not one."""
    output, logging, uids = part.get("output") or {}, part.get("logging") or {}, part.get("uids")
    outer = part.get("gateway") or {}
    default = Settings(agents={})
    return Settings(
        agents={name: _agent(values) for name, values in part["agents"].items()},
        spawn_method=part.get("spawnMethod", default.spawn_method),
        warm_spares=part.get("warmSpares", default.warm_spares),
        stop_seconds=part.get("stopSeconds", default.stop_seconds),
        cgroup=part.get("cgroup", default.cgroup),
        heartbeat_seconds=part.get("heartbeatSeconds", default.heartbeat_seconds),
        operator_uids=tuple((part.get("operators") or {}).get("uids") or ()),
        operator_gid=(part.get("operators") or {}).get("gid"),
        foreign=bool(part.get("foreign")),
        bind=outer.get("bind", default.bind),
        port=outer.get("port", default.port),
        custom_hosts=tuple(outer.get("customBindHost") or ()),
        uids=UidRange(uids["first"], uids["count"], uids["gid"]) if uids else None,
        lines_per_second=output.get("linesPerSecond", default.lines_per_second),
        bytes_per_second=output.get("bytesPerSecond", default.bytes_per_second),
        log_level=logging.get("level", default.log_level),
        log_file=logging.get("file", default.log_file),
        log_max_bytes=logging.get("maxBytes", default.log_max_bytes),
        log_backups=logging.get("backups", default.log_backups),
    )


def parse_document(document: bytes) -> Resolved:
    """One printed document, typed. Raises Unresolved (code 70: a defect, not the person's mistake)."""
    try:
        tree = json.loads(document)
        settings = settings_from(tree["supervisor"])
        return Resolved(settings, document, tuple(map(str, tree.get("warnings") or ())), tree.get("source"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unresolved(f"gateway.config printed no configuration: {error!r}", os.EX_SOFTWARE) from None


OUTER = {"gateway.bind": "bind", "gateway.port": "port", "gateway.customBindHost": "custom_hosts"}
"""The keys of the outer door's sockets, and our names for them."""


def needs_restart(old: Settings, new: Settings) -> list[str]:
    """The keys that differ and that a reload cannot change."""
    fixed = {
        **OUTER,
        "supervisor.spawn.method": "spawn_method",
        "supervisor.cgroup": "cgroup",
        "supervisor.uids": "uids",
        "gateway.unix.operators": "operator_uids",
        "gateway.unix.operatorGroup": "operator_gid",
        "gateway.unix.foreign": "foreign",
        "logging.file": "log_file",
        "logging.maxBytes": "log_max_bytes",
        "logging.backups": "log_backups",
    }
    return [key for key, name in fixed.items() if getattr(old, name) != getattr(new, name)]


def keeping_outer_door(old: Resolved, new: Resolved) -> Resolved:
    """`new`, but with the whole gateway section of `old` when it wants other sockets than those we hold: how a gateway
    guards its outer door (TLS, mode none) is decided for where that door is, and it stays where it is."""
    if all(getattr(old.settings, name) == getattr(new.settings, name) for name in OUTER.values()):
        return new
    tree = json.loads(new.document)
    tree["settings"]["gateway"] = json.loads(old.document)["settings"]["gateway"]
    kept = {name: getattr(old.settings, name) for name in OUTER.values()}
    return replace(new, settings=replace(new.settings, **kept), document=json.dumps(tree).encode())


async def _read_all(descriptor: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        part = os.read(descriptor, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
        if size > limit:
            return b""  # no document of ours: refused as such


async def resolve(
    config: str | None,
    overrides: Sequence[str],
    table: SpawnTable | None = None,
    *,
    started: subprocess.Popen[bytes] | None = None,
) -> Resolved:
    """The configuration in force now, from a short-lived process of at most RESOLVE_SECONDS (`started`, if it was
    started already).

    It is registered in `table` while it lives, so that no sweep takes it for a stray. Raises Unresolved; OSError when
    no process can be started."""
    process = started or start_resolver(config, overrides)
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.communicate()
        raise
    if table is not None:
        table.own("configuration", process.pid, pidfd)
    try:
        return await _understand(process, pidfd)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        if table is not None:
            table.disown(process.pid)
        os.close(pidfd)


async def _understand(process: subprocess.Popen[bytes], pidfd: int) -> Resolved:
    assert process.stdout is not None
    assert process.stderr is not None
    printed: dict[str, bytes] = {}

    async def keep(name: str, descriptor: int) -> None:
        printed[name] = await _read_all(descriptor, MAX_DOCUMENT_BYTES)

    try:
        with trio.fail_after(RESOLVE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep, "document", process.stdout.fileno())
                nursery.start_soon(keep, "errors", process.stderr.fileno())
            await trio.lowlevel.wait_readable(pidfd)
    except trio.TooSlowError:
        raise Unresolved(f"gateway.config did not end within {RESOLVE_SECONDS:.0f} s", os.EX_SOFTWARE) from None
    code = process.wait()
    errors = printed["errors"].decode(errors="backslashreplace").strip()
    if code != 0:
        raise Unresolved(
            errors or f"gateway.config ended with {code}", EX_CONFIG if code == EX_CONFIG else os.EX_SOFTWARE
        )
    return parse_document(printed["document"])


def sealed(document: bytes) -> int:
    """A memfd with the document, read from its beginning and never changed again: what one gateway gets. The caller
    closes it."""
    descriptor = os.memfd_create("peergate-config", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    left = memoryview(document)
    while left:
        left = left[os.write(descriptor, left) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, F_SEAL_ALL)
    return descriptor


def doors_of(settings: Settings) -> list[Door]:
    """The doors a configuration asks for, in the order Take names them."""
    agents_gid = settings.uids.gid if settings.uids is not None else None
    doors = [
        Door("agents", "agents.sock", 0o600 if agents_gid is None else 0o660, agents_gid, "supervisor.uids.gid"),
        Door(
            "operator",
            "operator.sock",
            0o660,
            settings.operator_gid,
            "gateway.unix.operatorGroup",
            uids=settings.operator_uids,
        ),
    ]
    return [*doors, Door("foreign", "foreign/operator.sock", 0o666)] if settings.foreign else doors
