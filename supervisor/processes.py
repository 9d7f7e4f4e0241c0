"""The process table people see: supervisor, zygote, gateway, workers, and what workers started.

Owns: reading /proc for it. A process that vanishes while it is read is left out. Rows are the camelCase fields of the
wire's `Process`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from supervisor.trees import descendants

COMMAND_CHARACTERS = 120
_PAGE = os.sysconf("SC_PAGESIZE")


@dataclass(frozen=True, slots=True)
class Subject:
    """One process of ours to be told about, and whether what it started belongs to the table too. `pss` is
    self-reported bytes."""

    kind: str
    pid: int
    agent: str | None = None
    session: str | None = None
    pss: int | None = None
    command: str | None = None


def _read(pid: int, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


def _command(pid: int) -> str:
    words = _read(pid, "cmdline").rstrip(b"\0").split(b"\0")
    return b" ".join(words).decode(errors="backslashreplace")[:COMMAND_CHARACTERS]


def _uid(pid: int) -> int:
    for line in _read(pid, "status").splitlines():
        if line.startswith(b"Uid:"):
            return int(line.split()[1])
    return -1


def pss_of(pid: int) -> int | None:
    """Proportional memory in bytes; None where the kernel hides it, as it does for a non-dumpable process of another
    uid."""
    try:
        for line in _read(pid, "smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def row(subject: Subject) -> dict[str, Any] | None:
    """One row; None when the process is gone."""
    try:
        name_end, _, rest = _read(subject.pid, "stat").rpartition(b")")
        fields = rest.split()
        command = (
            subject.command or _command(subject.pid) or name_end.partition(b"(")[2].decode(errors="backslashreplace")
        )
        return {
            "kind": subject.kind,
            "pid": subject.pid,
            "ppid": int(fields[1]),
            "uid": _uid(subject.pid),
            "state": fields[0].decode(),
            "rssBytes": int(fields[21]) * _PAGE,
            "pssBytes": subject.pss or pss_of(subject.pid),
            "agentId": subject.agent,
            "sessionKey": subject.session,
            "command": command,
        }
    except OSError:
        return None


def _tools(pid: int) -> list[int]:
    try:
        return descendants(pid)
    except OSError:  # out of descriptors
        return []


def _with_tools(subjects: Iterable[Subject]) -> Iterator[Subject]:
    for subject in subjects:
        yield subject
        if subject.kind == "worker":
            for pid in _tools(subject.pid):
                yield Subject("tool", pid, subject.agent, subject.session)


def rows(subjects: Iterable[Subject]) -> list[dict[str, Any]]:
    """All rows, tools behind their worker."""
    return [found for subject in _with_tools(subjects) if (found := row(subject)) is not None]
