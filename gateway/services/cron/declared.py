"""Jobs that stand in the configuration (`cron.jobs`), made and kept as they stand there.

Owns the rule that a job which is gone from the configuration is removed, and that no other job ever is. Applying the
same configuration again changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from msgspec.structs import replace

from gateway.protocol.cron import Wish
from gateway.protocol.errors import Refusal
from gateway.schedules.job import is_over

log = logging.getLogger("gateway.cron")

PREFIX = "config:"
"""Of the declaration keys of such jobs."""


class Jobs(Protocol):
    """What is needed of the service."""

    def declared_keys(self) -> set[str]: ...

    def id_of(self, key: str) -> str | None: ...

    async def add(self, wish: Wish, *, declared: bool = False) -> dict[str, Any]: ...

    async def remove(self, job_id: str) -> dict[str, Any]: ...


async def apply_declared(jobs: Jobs, wanted: Mapping[str, Wish]) -> bool:
    """Bring the jobs up to the configuration; whether that is done, or should be tried again. One that is refused is
    logged, and does not keep the others."""
    done = True
    for name, wish in wanted.items():
        key = PREFIX + name
        try:
            await jobs.add(replace(wish, declaration_key=key, name=wish.name or name), declared=True)
        except Refusal as refusal:
            done &= _said(name, refusal)
    for key in jobs.declared_keys() - {PREFIX + name for name in wanted}:
        if (job_id := jobs.id_of(key)) is not None:
            try:
                await jobs.remove(job_id)
            except Refusal as refusal:
                done &= _said(key.removeprefix(PREFIX), refusal)
    return done


def _said(name: str, refusal: Refusal) -> bool:
    """Log why a job is not applied; whether that is final."""
    if is_over(refusal):
        log.info("a cron job of the configuration is over", extra={"job": name, "reason": refusal.shape.message})
    else:
        log.error("a cron job of the configuration is not applied", extra={"job": name, "reason": str(refusal)})
    return not refusal.shape.retryable
