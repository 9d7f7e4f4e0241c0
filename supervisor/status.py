"""`status.json` in the runtime directory: what runs, for people and programs while the gateway is dead or hung.

Owns: that file. It is written whole and renamed into place within DEBOUNCE_SECONDS of a change; nothing reads it back
here, and nobody may act on a pid in it (a file can be forged; the CLI signals through the socket's listener)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

from supervisor.logfile import Log
from supervisor.wholefile import replace_file

NAME = "status.json"
DEBOUNCE_SECONDS = 0.1


def write_status(runtime_dir: str, status: dict[str, Any]) -> None:
    """Replace the file. Raises OSError; the old file then stands."""
    path = os.path.join(runtime_dir, NAME)
    replace_file(path, json.dumps(status, indent=1) + "\n", mode=0o644, durable=False)


def remove_status(runtime_dir: str) -> None:
    """Take it away: nothing runs."""
    with suppress(OSError):
        os.unlink(os.path.join(runtime_dir, NAME))


class StatusFile:
    """Keeps the file true. `snapshot` makes its content, when it is due, but for `reloads`: how often the configuration
    was to be read again, and why the last time it was not (`error`)."""

    def __init__(self, runtime_dir: str, snapshot: Callable[[], dict[str, Any]], log: Log) -> None:
        self._runtime_dir, self._snapshot, self._log = runtime_dir, snapshot, log
        self._reloads: dict[str, Any] = {"count": 0, "error": None}
        self._changed = trio.Event()
        self._failed = False

    def changed(self) -> None:
        """Something in it is different now."""
        self._changed.set()

    def reloaded(self, error: str | None = None) -> None:
        """The configuration was read again, or could not be."""
        self._reloads = {"count": self._reloads["count"] + 1, "error": error}
        self.changed()

    def write_now(self) -> None:
        """Write it at once. A full disk is logged once and hurts nobody."""
        try:
            write_status(self._runtime_dir, {**self._snapshot(), "reloads": self._reloads})
            self._failed = False
        except OSError as error:
            if not self._failed:
                self._log.warning(f"cannot write {NAME}: {error}")
            self._failed = True

    async def serve(self) -> None:
        """Write after every change, at most once per DEBOUNCE_SECONDS. Never returns."""
        while True:
            await self._changed.wait()
            await trio.sleep(DEBOUNCE_SECONDS)
            self._changed = trio.Event()
            self.write_now()
