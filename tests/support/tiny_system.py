"""A real supervisor around the tiny gateway and worker, and the few questions tests ask it."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.support.system import System, eventually

TARGETS = ("--worker", "tests.support.tiny:run_worker", "--gateway", "tests.support.tiny:run_gateway")


def agents(*words: str, limits: Mapping[str, int] | None = None) -> dict[str, Any]:
    """A configuration with one agent per word, which is its name and what its workers do."""
    entries: dict[str, Any] = {word: {"runtime": {"type": "command", "argv": [word]}} for word in words}
    if limits:
        for entry in entries.values():
            entry["limits"] = dict(limits)
    return {"agents": {"entries": entries}, "supervisor": {"heartbeatSeconds": 1}}


class Tiny(System):
    """A system whose gateway answers `ask`."""

    def begin(self, *arguments: str) -> Tiny:
        self.start(*TARGETS, *arguments)
        return self

    def ask(self, do: str, **values: Any) -> Any:
        """One question to the gateway there is. Waits in the queue while there is none."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.operator))
            with connection.makefile("rw") as file:
                file.write(json.dumps({"do": do, **values}) + "\n")
                file.flush()
                line = file.readline()
                return json.loads(line) if line else None

    def spawn(self, agent: str, session: str | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self.ask("spawn", agent=agent, session=session or f"agent:{agent}:main")
        return answer

    def notes(self, kind: str) -> list[dict[str, Any]]:
        return [note for note in self.ask("notes") if note["t"] == kind]

    def wait_for_note(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The first note of a kind with these fields, once the gateway has been told."""

        def find() -> dict[str, Any] | None:
            found = (note for note in self.notes(kind) if all(note[name] == value for name, value in fields.items()))
            return next(found, None)

        note: dict[str, Any] = eventually(find, 20, every=0.05)
        return note

    def processes(self, kind: str) -> list[dict[str, Any]]:
        return [row for row in self.ask("processes") if row["kind"] == kind]

    def pid_of(self, kind: str) -> int:
        return int(self.status()[kind]["pid"])

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.runtime / "status.json").read_text())
        return told

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def records(self) -> list[dict[str, Any]]:
        """The log file, parsed; waits for nothing."""
        return [json.loads(line) for line in (self.state / "logs" / "peergate.log").read_text().splitlines()]

    def wait_for_record(self, text: str, seconds: float = 20) -> dict[str, Any]:
        """The first log record whose message contains a text."""

        def find() -> dict[str, Any] | None:
            return next((record for record in self.records() if text in record["msg"]), None)

        record: dict[str, Any] = eventually(find, seconds, every=0.05)
        return record


@contextmanager
def tiny(config: Mapping[str, Any] | None = None, *arguments: str, wrapper: Sequence[str] = ()) -> Iterator[Tiny]:
    """A started one, ended and removed at the end; its log is shown when the test fails."""
    system = Tiny(config, wrapper=wrapper)
    try:
        system.begin(*arguments)
        yield system
        if system.process is not None and system.process.poll() is None:
            assert system.stop(signal.SIGTERM) == 0
    except BaseException:
        print(system.log())
        raise
    finally:
        system.remove()
