"""Which agents are in quarantine, also for the supervisor after this one: `<state>/quarantine.json`.

Owns: that file. It is no condition for holding an agent: with a full disk one is held all the same, for as long as this
supervisor lives."""

from __future__ import annotations

import json
import os

from supervisor.logfile import Log
from supervisor.messages import MAX_REASON_CHARS
from supervisor.quarantine import Quarantine
from supervisor.wholefile import replace_file

NAME = "quarantine.json"


class KeptQuarantine(Quarantine):
    """The quarantine of one state directory. What cannot be read or written is logged."""

    def __init__(self, state_dir: str, log: Log) -> None:
        super().__init__()
        self._path = os.path.join(state_dir, NAME)
        self._log = log
        try:
            self.held.update(_read(self._path))
        except (OSError, ValueError) as error:
            log.error(f"{self._path} cannot be read, so that nobody is in quarantine: {error}")

    def hold(self, agent: str, reason: str) -> None:
        """Held until it is released, by whatever supervisor."""
        super().hold(agent, reason)
        self._write()

    def release(self, agent: str) -> None:
        """Free again, for every supervisor to come."""
        super().release(agent)
        self._write()

    def _write(self) -> None:
        text = json.dumps(self.held, indent=1, sort_keys=True)
        try:
            replace_file(self._path, text + "\n", mode=0o600, durable=True)
        except OSError as error:
            after = "after a restart it will be as it was before; make room, then say it again"
            self._log.error(f"{self._path}: who is in quarantine could not be written down ({error}); {after}")


def _read(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8") as file:
            held = json.load(file)
    except FileNotFoundError:
        return {}
    except RecursionError:
        held = None
    if not isinstance(held, dict) or not all(isinstance(reason, str) for reason in held.values()):
        raise ValueError("it is no table of agents and reasons")
    return {agent: reason[:MAX_REASON_CHARS] for agent, reason in held.items()}
