"""What listeners and operators hear of jobs: the event `cron`, notices, the log."""

from __future__ import annotations

import logging
import sqlite3
from typing import Any

import msgspec

from gateway.protocol.cron import RunEntry
from gateway.services.cron.book import Kept
from gateway.services.cron.listing import view_of
from gateway.services.engine import Engine
from gateway.services.ports import Publisher

log = logging.getLogger("gateway.cron")

FAULTS = (sqlite3.Error, ValueError, TypeError, LookupError, AssertionError, msgspec.MsgspecError)
"""What a job that cannot be obeyed may raise. Of that the others shall know nothing."""


class Teller:
    """Tells. Never waits."""

    def __init__(self, engine: Engine, hub: Publisher) -> None:
        self._engine = engine
        self._hub = hub

    def tell(self, job_id: str, action: str, kept: Kept | None, entry: RunEntry | None = None) -> None:
        """The event `cron`."""
        if not self._hub.listeners:
            return
        payload: dict[str, Any] = msgspec.to_builtins(entry) if entry is not None else {}
        for name in ("ts", "action", "jobName", "trigger", "attempt", "errorReason"):
            payload.pop(name, None)
        payload |= {"jobId": job_id, "action": action}
        if kept is not None:
            payload["job"] = view_of(kept.job)
        self._hub.publish("cron", payload)

    def disabled(self, kept: Kept, why: str) -> None:
        """A job was switched off by itself."""
        job = kept.job
        text = f"the cron job {job.name} ({job.id}) was switched off: {why}"
        self.notice("error", "CRON_JOB_DISABLED", text, fix=f"peergate cron enable {job.id}")
        self.tell(job.id, "updated", kept)

    def broken(self, job_id: str, error: Exception) -> None:
        """Something about a job cannot be done, for a reason nobody has thought of."""
        log.error("a cron job cannot be obeyed", exc_info=error)
        self.notice("error", "CRON_JOB_BROKEN", f"the cron job {job_id} cannot be obeyed: {error}")

    def notice(self, level: str, code: str, message: str, **about: str) -> None:
        """Something an operator should know."""
        log.error("%s", message)
        self._engine.news.notice(level, code, message, **about)
