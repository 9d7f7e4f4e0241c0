"""What a worker process runs once it is born and knows who it is. Composition root of `agentproc`.

The child sequence (session, limits, uid, environment) is done before; the process ends with what `run` returns or
raises."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

# Imported here so that the zygote has them before it forks; an agent finds its module ready.
from agentproc.builtin import main as _main
from agentproc.builtin import reporter as _reporter
from agentproc.builtin import scout as _scout
from agentproc.builtin import survey as _survey
from agentproc.heartbeat import Lifeline
from agentproc.limits import set_keys
from agentproc.rehearsal import carry_out_a_run
from agentproc.runtimes import runtime_for
from agentproc.runtimes.base import Broken, Runtime
from agentproc.worker import Duty, Worker
from gateway.client import Client, open_client

BUILTIN = (_main, _reporter, _scout, _survey)

_log = logging.getLogger("agentproc")


def run(lifeline: socket.socket, assignment: dict[str, Any]) -> None:
    """Work as the assignment (the fields of `supervisor.messages.Assign`) says; returns when there is a reason to
    leave."""
    log_as_json_lines()
    runtime = prepare(assignment)
    trio.run(_work, lifeline, assignment, runtime)


def rehearse() -> None:
    """What a zygote and a spare do before they are anybody; found beside `run` by its name."""
    log_as_json_lines()
    carry_out_a_run()


async def _work(sock: socket.socket, assignment: Mapping[str, Any], runtime: Runtime) -> None:
    lifeline = Lifeline(sock, assignment["heartbeat_seconds"])

    def opener(ticket: str) -> AbstractAsyncContextManager[Client]:
        return open_client(assignment["socket"], ticket=ticket, client={"id": "peergate-worker", "mode": "worker"})

    def changed(connected: bool, why: str) -> None:
        lifeline.connected, lifeline.status = connected, why
        # A thread costs a millisecond: started while the gateway looks for a run, and before any turn can keep the
        # loop.
        trio.lowlevel.current_trio_token().run_sync_soon(lifeline.start)
        if not connected:
            _log.info("gateway: %s", why)

    first: str | None = assignment["ticket"]

    async def ticket() -> str:
        nonlocal first
        given, first = first, None
        return given if given is not None else await lifeline.ticket()

    duty = Duty(assignment["agent"], assignment["session"], assignment["idle_seconds"])
    await Worker(duty, runtime, opener, ticket, on_change=changed).run()


def prepare(assignment: Mapping[str, Any]) -> Runtime:
    """Go to the agent's directory, tell its programs where the gateway is, and make its runtime."""
    set_keys(assignment.get("limit_keys") or {})
    door = assignment["socket"]
    os.environ.setdefault("PEERGATE_RUNTIME_DIR", os.path.dirname(door))
    os.environ |= {
        "PEERGATE_SOCKET": door,
        "PEERGATE_AGENT": assignment["agent"],
        "PEERGATE_SESSION": assignment["session"],
    }
    try:
        os.chdir(assignment["cwd"] or "/")
    except OSError as error:
        return Broken(f"the agent's directory cannot be entered: {error} (agents.entries.{assignment['agent']}.cwd)")
    return runtime_for(assignment["runtime"], output_bytes=assignment["limits"].get("outputBytes"))


class JsonLines(logging.Formatter):
    """One JSON object per record, which the supervisor takes over into the log as it is."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": round(time.time() * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_as_json_lines() -> None:
    """Log to standard error, which is the supervisor's. Done once; a rehearsal may have done it already."""
    if any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers):
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
