"""The system itself: health, status, presence, processes, log, configuration, refusals."""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import trio

from gateway.config.schema import redacted, tree_of
from gateway.protocol.calls.system import Health, HealthProbe, LogsTail, Presence, RefusalsList
from gateway.protocol.errors import unavailable
from gateway.protocol.frames import MSGPACK
from gateway.protocol.scopes import PAIRING
from gateway.router import Call, Handler
from gateway.services import Services
from supervisor.messages import OUTER_PREFIX

MAX_LOG_LINES = 5000
MAX_LOG_BYTES = 1_000_000
_BRIEF = {
    name: shown
    for name, shown in zip(Health.__struct_fields__, Health.__struct_encode_fields__, strict=True)
    if not name.startswith("channel") and name not in ("agents", "sessions", "heartbeat_seconds", "duration_ms")
}
"""Of the health, what `status` tells besides agents and sessions: for people, so without what is always empty."""
_CHANNEL_TABLES = ("channelLabels", "channels", "channelAccounts", "channelDefaultAccountId")


def health(call: Call) -> msgspec.Raw:
    params: HealthProbe = call.params
    return call.services.health.written(call.connection.codec, probe=params.probe)


def status(call: Call) -> dict[str, Any]:
    services = call.services
    picture = services.health.picture(probe=True)
    brief = {shown: getattr(picture, name) for name, shown in _BRIEF.items()}
    return {
        "health": {**brief, "agents": services.health.agents(), "sessions": {"total": picture.sessions.total}},
        "gateway": _counted(services, "status", {}),
        "refusals": services.refusals.newest(limit=0)["counts"],
        "draining": services.engine.draining,
        "pid": os.getpid(),
        "supervisorPid": os.getppid(),  # which made us, and ends us when it ends: whom to signal
    }


def system_presence(call: Call) -> list[Presence]:
    return call.services.presence.rows()


async def gateway_identity(call: Call) -> dict[str, str]:
    return await call.services.identity.public()


def last_heartbeat(call: Call) -> None:
    return None


def channels_status(call: Call) -> dict[str, Any]:
    kinds: dict[str, Any] = {name: {} for name in _CHANNEL_TABLES}
    return {"ts": round(call.services.clock()), "channelOrder": [], **kinds}


def node_list(call: Call) -> dict[str, Any]:
    return {"ts": round(call.services.clock()), "nodes": []}


async def system_processes(call: Call) -> list[dict[str, Any]]:
    return await call.services.supervisor.processes()


async def logs_tail(call: Call) -> dict[str, Any]:
    params: LogsTail = call.params
    file = _counted(call.services, "status", {}).get("logFile")
    if not file:
        raise unavailable("no log file is written (logging.file is false): see the service manager's log")
    size = max(1, min(params.max_bytes, MAX_LOG_BYTES))
    limit = max(1, min(params.limit, MAX_LOG_LINES))
    shows = None if call.principal.may(PAIRING) else names_no_device
    told = await trio.to_thread.run_sync(tail, Path(file), params.cursor, limit, size, shows)
    return (
        told if call.connection.codec is MSGPACK else told | {"lines": [for_openclaw(line) for line in told["lines"]]}
    )


class _About(msgspec.Struct):
    """Of a log line: whose it is, and which door it is about."""

    logger: str = ""
    door: Any = None


_about = msgspec.json.Decoder(_About)


def names_no_device(line: str) -> bool:
    """Whether a log line says nothing of who comes through the outer door: those who may not pair see such lines
    alone, as with `device.pair.list`."""
    try:
        about = _about.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return True  # no record of ours, such as what a process said on its standard error
    return about.logger != "gateway.pairing" and not str(about.door).startswith(OUTER_PREFIX)


def for_openclaw(line: str) -> str:
    """A log line with the members that OpenClaw's clients show (2026.9.6, parse-log-line) beside ours."""
    try:
        record = msgspec.json.decode(line, type=dict[str, Any])
        shown = {"message": record["msg"], "time": _iso(record["ts"]), "subsystem": record.get("logger", "")}
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return line  # somebody else's, such as what a process said on its standard error
    return msgspec.json.encode(record | shown).decode()


def _iso(ts_ms: float) -> str:
    return datetime.datetime.fromtimestamp(ts_ms / 1000, datetime.UTC).isoformat(timespec="milliseconds")


def tail(
    file: Path, cursor: int | None, limit: int, max_bytes: int, shows: Callable[[str], bool] | None = None
) -> dict[str, Any]:
    """The last lines of a file, or those since `cursor` (bytes), as far as `shows` lets them; `reset` says that the
    file is a new one since then."""
    try:
        with file.open("rb") as log:
            size = log.seek(0, 2)
            reset = cursor is not None and cursor > size
            start = max(0, size - max_bytes) if cursor is None or reset else max(cursor, size - max_bytes)
            log.seek(start)
            data = log.read(max_bytes)
    except OSError as error:
        raise unavailable(f"the log {file} cannot be read: {error.strerror}") from None
    whole = data[: data.rfind(b"\n") + 1]  # the line being written is told when it is whole
    lines = whole.decode("utf-8", "backslashreplace").splitlines()
    if cursor is None and start > 0:
        lines = lines[1:]  # only its end was read
    lines = list(filter(shows, lines)) if shows else lines
    cut = start > (cursor or 0) or len(lines) > limit
    shown = lines[-limit:]
    return {
        "file": str(file), "cursor": start + len(whole), "size": size, "lines": shown, "truncated": cut, "reset": reset,
    }  # fmt: skip


def config_get(call: Call) -> dict[str, Any]:
    """What is in force. A gateway starts with a valid configuration only, and never sees the file's own text."""
    tree = redacted(tree_of(call.services.settings))
    digest = hashlib.sha256(msgspec.json.encode(tree, order="sorted")).hexdigest()
    path = _counted(call.services, "status", {}).get("configFile")
    return {
        "config": tree, "resolved": tree, "parsed": tree, "raw": None, "path": path, "exists": path is not None,
        "valid": True, "issues": [], "hash": digest, "configRevisionHash": digest,
    }  # fmt: skip


def refusals_list(call: Call) -> dict[str, Any]:
    params: RefusalsList = call.params
    devices = call.principal.may(PAIRING)
    return call.services.refusals.newest(code=params.code, limit=params.limit, devices=devices)


def _counted(services: Services, name: str, default: Any) -> Any:
    """What the composition root counts under this name."""
    count = services.counters.get(name)
    return count() if count is not None else default


HANDLERS: dict[str, Handler] = {
    "health": health,
    "status": status,
    "system-presence": system_presence,
    "gateway.identity.get": gateway_identity,
    "last-heartbeat": last_heartbeat,
    "channels.status": channels_status,
    "node.list": node_list,
    "system.processes": system_processes,
    "logs.tail": logs_tail,
    "config.get": config_get,
    "refusals.list": refusals_list,
}
