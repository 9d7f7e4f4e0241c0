"""The system itself: health, status, processes, log, configuration, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from gateway.config.schema import redacted, tree_of
from gateway.handlers.agents import summaries
from gateway.protocol.calls.system import Health, LogsTail, RefusalsList
from gateway.protocol.errors import unavailable
from gateway.router import Call, Handler
from gateway.services import Services

MAX_LOG_LINES = 5000
MAX_LOG_BYTES = 1_000_000


def health(call: Call) -> Health:
    services = call.services
    now = services.clock()
    return Health(
        ok=services.database.trouble is None and not services.database.broken.is_set(),
        ts=round(now),
        uptime_ms=round(now - services.info.started_ms),
        version=services.info.version,
        generation=services.info.generation,
        epoch=services.info.epoch,
        default_agent_id=services.settings.default_agent,
        agents=summaries(services),
        sessions={"total": services.sessions.count()},
        runs=services.runs.counts(),
        workers=services.workers.connected(),
        connections=_counted(services, "connections", 0),
        database=services.database.facts(),
    )


def status(call: Call) -> dict[str, Any]:
    services = call.services
    return {
        "health": health(call),
        "gateway": _counted(services, "status", {}),
        "refusals": services.refusals.newest(limit=0)["counts"],
        "draining": services.engine.draining,
    }


async def system_processes(call: Call) -> list[dict[str, Any]]:
    return await call.services.supervisor.processes()


async def logs_tail(call: Call) -> dict[str, Any]:
    params: LogsTail = call.params
    file = _counted(call.services, "status", {}).get("logFile")
    if not file:
        raise unavailable("no log file is written (logging.file is false): see the service manager's log")
    size = max(1, min(params.max_bytes, MAX_LOG_BYTES))
    limit = max(1, min(params.limit, MAX_LOG_LINES))
    return await trio.to_thread.run_sync(tail, Path(file), params.cursor, limit, size)


def tail(file: Path, cursor: int | None, limit: int, max_bytes: int) -> dict[str, Any]:
    """The last lines of a file, or those since `cursor` (bytes); `reset` says that the file is a new one since then."""
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
    cut = start > (cursor or 0) or len(lines) > limit
    if cursor is None and start > 0:
        lines = lines[1:]
    shown = lines[-limit:]
    return {
        "file": str(file), "cursor": start + len(whole), "size": size, "lines": shown, "truncated": cut, "reset": reset,
    }  # fmt: skip


def config_get(call: Call) -> dict[str, Any]:
    return {"config": redacted(tree_of(call.services.settings))}


def refusals_list(call: Call) -> dict[str, Any]:
    params: RefusalsList = call.params
    return call.services.refusals.newest(code=params.code, limit=params.limit)


def _counted(services: Services, name: str, default: Any) -> Any:
    """What the composition root counts under this name."""
    count = services.counters.get(name)
    return count() if count is not None else default


HANDLERS: dict[str, Handler] = {
    "health": health,
    "status": status,
    "system.processes": system_processes,
    "logs.tail": logs_tail,
    "config.get": config_get,
    "refusals.list": refusals_list,
}
