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

log = logging.getLogger("gateway.cron")

PREFIX = "config:"
"""Of the declaration keys of such jobs."""


class Jobs(Protocol):
    """What is needed of the service."""

    def declared_keys(self) -> set[str]: ...

    def id_of(self, key: str) -> str | None: ...

    async def add(self, wish: Wish, *, declared: bool = False) -> dict[str, Any]: ...

    async def remove(self, job_id: str) -> dict[str, Any]: ...


async def apply_declared(jobs: Jobs, wanted: Mapping[str, Wish]) -> None:
    """Bring the jobs up to the configuration. One that is refused is logged, and does not keep the others."""
    for name, wish in wanted.items():
        key = PREFIX + name
        try:
            await jobs.add(replace(wish, declaration_key=key, name=wish.name or name), declared=True)
        except Refusal as refusal:
            log.error("a cron job of the configuration is not applied", extra={"job": name, "reason": str(refusal)})
    for key in jobs.declared_keys() - {PREFIX + name for name in wanted}:
        if (job_id := jobs.id_of(key)) is not None:
            try:
                await jobs.remove(job_id)
            except Refusal as refusal:
                log.error("a cron job is not removed", extra={"job": key, "reason": str(refusal)})
