"""What can be told about a system whose gateway is dead or hung: the supervisor's `status.json`, and /proc.

Read only, and never acted upon: a file can be forged, so `stop` and `reload` signal the socket's listener instead."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

MAX_STATUS_BYTES = 4 * 1024 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")


def read_status(directory: str) -> dict[str, Any] | None:
    """The supervisor's last word on itself, or None where there is none that can be read."""
    try:
        with open(os.path.join(directory, "status.json"), "rb") as file:
            told = json.loads(file.read(MAX_STATUS_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def gateway_words(doors: Sequence[str]) -> str | None:
    """One clause on the gateway for the error somebody reads who got no answer."""
    for directory in dict.fromkeys(os.path.dirname(door) for door in doors):
        told = read_status(directory)
        if told is None:
            continue
        gateway = told.get("gateway")
        state = gateway if isinstance(gateway, dict) else {}
        words = f"the supervisor says its gateway is {state.get('state') or 'in an unknown state'}"
        pid = state.get("pid")
        words = f"{words} (pid {pid})" if pid else words
        waits = state.get("waitsFor")
        return f"{words} and waits: {waits}" if waits else words
    return None


def process_rows(supervisor: int) -> list[dict[str, Any]]:
    """The tree below a supervisor as /proc shows it, in the shape of `system.processes`, without agents and sessions.

    The kinds of its own children are told by the names they give themselves."""
    parents: dict[int, list[int]] = {}
    facts: dict[int, dict[str, Any]] = {}
    for pid in _pids():
        row = _row(pid)
        if row is not None:
            facts[pid] = row
            parents.setdefault(row["ppid"], []).append(pid)
    if supervisor not in facts:
        return []
    facts[supervisor]["kind"] = "supervisor"
    rows = [facts[supervisor]]
    for child in sorted(parents.get(supervisor, ())):
        facts[child]["kind"] = _kind(str(facts[child]["command"]))
        rows += [facts[child], *_descendants(child, parents, facts)]
    return rows


def _pids() -> Iterator[int]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    yield from (int(name) for name in names if name.isdecimal())


def _kind(name: str) -> str:
    return {"pg-gateway": "gateway", "pg-zygote": "zygote"}.get(name, "worker")


def _descendants(pid: int, parents: dict[int, list[int]], facts: dict[int, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for child in sorted(parents.get(pid, ())):
        facts[child]["kind"] = "tool"
        yield facts[child]
        yield from _descendants(child, parents, facts)


def _row(pid: int) -> dict[str, Any] | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:  # it ended meanwhile
        return None
    # The name is in brackets and may hold anything, brackets too (proc_pid_stat(5)).
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    row = {"kind": "tool", "pid": pid, "ppid": int(fields[1]), "uid": uid, "state": fields[0], "command": name}
    return {**row, "rssBytes": int(fields[21]) * _PAGE, "pssBytes": None, "agentId": None, "sessionKey": None}
