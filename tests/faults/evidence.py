"""What is known when the noise is over: what senders were promised, what the gateway answers now, and what the agents
wrote into their own files.

Owns gathering it. Nothing here reads the system's database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.workload import Accepted
from tests.support.system import Wire

PAGE = 500


@dataclass
class Evidence:
    """Everything the checker looks at. Transcripts by session, runs by id; `lines` in the order they were written;
    `stops` is how often the system was told to stop."""

    accepted: list[Accepted] = field(default_factory=list)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    transcripts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    stops: int = 0

    def of(self, what: str) -> list[dict[str, Any]]:
        """The agents' lines of one kind."""
        return [line for line in self.lines if line["what"] == what]


def ask(wire: Wire, evidence: Evidence) -> None:
    """Read every session, transcript and run over the wire."""
    for row in _pages(wire, "sessions.list", {}, "sessions"):
        evidence.transcripts[row["key"]] = history(wire, row["key"])
    for row in _pages(wire, "runs.list", {}, "runs"):
        evidence.runs[row["runId"]] = row


def history(wire: Wire, session: str) -> list[dict[str, Any]]:
    """A whole transcript, oldest first."""
    messages: list[dict[str, Any]] = []
    while True:
        page = wire.call("chat.history", {"sessionKey": session, "limit": PAGE, "offset": len(messages)})
        messages = page["messages"] + messages
        if not page["hasMore"]:
            return messages


def _pages(wire: Wire, method: str, params: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    offset = 0
    while True:
        rows = wire.call(method, {**params, "limit": PAGE, "offset": offset})[name]
        yield from rows
        offset += len(rows)
        if len(rows) < PAGE:
            return


def read_lines(directory: Path) -> list[dict[str, Any]]:
    """What the agents wrote. The last line of a file may have been cut by a death; no other may."""
    found: list[dict[str, Any]] = []
    for path in sorted(directory.glob("*.jsonl")):
        *whole, rest = path.read_bytes().split(b"\n")
        found += [json.loads(line) for line in whole]
        if rest:
            found.append({"what": "cut", "session": path.stem, "text": rest.decode(errors="replace")})
    return sorted(found, key=lambda line: line.get("at", 0.0))


def text_of(message: dict[str, Any]) -> str:
    """The text of a transcript's message."""
    return "".join(part.get("text", "") for part in message["content"])


def name_of(message: dict[str, Any]) -> str | None:
    """The name of the order in a message, if it is one."""
    try:
        order = json.loads(text_of(message))
    except ValueError:
        return None
    return order.get("id") if isinstance(order, dict) else None


def child_of(message: dict[str, Any]) -> str | None:
    """The run a message announces, if it is an announcement."""
    provenance = message.get("provenance") or {}
    return provenance.get("childRunId") if provenance.get("sourceTool") == "sessions_spawn" else None
