"""What the rules of a job need to know of the world. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import tzinfo

import msgspec
from msgspec.structs import replace

from gateway.protocol.cron import Owner


class Facts(msgspec.Struct, frozen=True):
    """What making a job needs to know. `zone_of` gives the time zone of a name (None: the host's) and raises
    BadSchedule for one there is not; `owner` is None for an operator."""

    now: int
    default_agent: str
    agents: Collection[str]
    zone_of: Callable[[str | None], tzinfo]
    owner: Owner | None = None

    def of(self, owner: Owner | None) -> Facts:
        """The same for a job that somebody else has made."""
        return replace(self, owner=owner)
