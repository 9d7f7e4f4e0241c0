"""What every connection needs of the gateway around it. Owns nothing: the composition root fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from gateway.auth.principal import Refusal
from gateway.hello import Greeter
from gateway.registry import Registry
from gateway.router import Router
from gateway.services.events import Hub, Member
from supervisor.messages import Claimed


class House(msgspec.Struct, frozen=True):
    """What all connections share. `joined` and `left` hear of greeted connections; `refused` of everybody turned
    away."""

    router: Router
    greeter: Greeter
    hub: Hub
    registry: Registry
    claim: Callable[[str, str], Awaitable[Claimed]]
    joined: Callable[[Member], None]
    left: Callable[[Member], None]
    refused: Callable[[Refusal], None]
    uptime_ms: Callable[[], int]
