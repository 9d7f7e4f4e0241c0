"""What all greetings of the outer door share, and what the door knows of each peer. Owns nothing: the composition root
fills the desk, the door writes the arrivals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio

from gateway.auth.principal import Principal
from gateway.auth.proxies import Headers
from gateway.auth.ratelimit import RateLimiter
from gateway.greet.policy import OuterPolicy
from gateway.house import House
from gateway.protocol.calls.system import Health, Heartbeat, SessionsHealth
from gateway.protocol.keys import main_key
from gateway.protocol.scopes import ADMIN, READ
from gateway.services import Services
from gateway.services.pairing import Pairing
from supervisor.messages import Held

Address = tuple[str, int]


class Desk(msgspec.Struct, frozen=True):
    """What all greetings of the outer door share. `holder` asks the supervisor who holds the peer's end of a
    connection, given ours and the peer's address; `wall_ms` is the time devices sign; `nonce` makes one that was never
    used; `snapshot` is what hello-ok tells a principal of the system. `policy` is asked for every peer, because a
    reload replaces it."""

    house: House
    pairing: Pairing
    policy: Callable[[], OuterPolicy]
    limiter: RateLimiter
    holder: Callable[[Address, Address], Awaitable[Held]]
    wall_ms: Callable[[], int]
    nonce: Callable[[], str]
    snapshot: Callable[[Principal], dict[str, Any]]

    async def look(self, local: Address, remote: Address) -> Held:
        """Who holds the peer's end. Whoever cannot be found out about in time is unknown."""
        try:
            return await self.holder(local, remote)
        except trio.TooSlowError:
            return Held(0, "unknown", detail="the supervisor did not answer in time")

    async def look_again(self, arrival: Arrival) -> Held:
        """Who holds the peer's end now, right before it is decided.

        A peer on another host is not asked about again. A socket never leaves the network namespace it was made in, and
        the kernel knew none of ours with these two ends; none comes into being later, not by an address that becomes
        ours meanwhile either, short of forging one (TCP_REPAIR), which takes the right to redirect our network."""
        return arrival.first if arrival.first.kind == "remote" else await self.look(arrival.local, arrival.remote)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the door knows of a peer whose WebSocket is open: both ends of the TCP connection, the headers of its
    upgrade (names in lower case), and who held its end when it was accepted."""

    door: str
    local: Address
    remote: Address
    first: Held
    headers: Headers = field(default=(), repr=False)


def told_health(health: Health) -> dict[str, Any]:
    """The health as OpenClaw's schema of hello-ok has it, which is closed: `health` tells more. It knows no `ok` but
    true."""

    def busy(sessions: SessionsHealth) -> dict[str, Any]:
        return {"path": sessions.path, "count": sessions.count, "recent": sessions.recent}

    agents = [
        {"agentId": one.id, "isDefault": one.is_default, "heartbeat": one.heartbeat or Heartbeat(),
         "sessions": busy(one.sessions or health.sessions)} | ({"name": one.name} if one.name else {})
        for one in health.agents
    ]  # fmt: skip
    told = {
        "ts": health.ts, "durationMs": health.duration_ms, "channels": health.channels,
        "channelOrder": health.channel_order, "channelLabels": health.channel_labels,
        "heartbeatSeconds": health.heartbeat_seconds, "defaultAgentId": health.default_agent_id, "agents": agents,
        "sessions": busy(health.sessions),
    }  # fmt: skip
    return {"ok": True, **told} if health.ok else told


def snapshot_of(
    services: Services, uptime_ms: Callable[[], int], versions: Callable[[], dict[str, int]], about: dict[str, Any]
) -> Callable[[Principal], dict[str, Any]]:
    """What hello-ok tells of the system; who may not read learns that it lives. `about` is for administrators alone
    (configPath, stateDir)."""

    def snapshot(principal: Principal) -> dict[str, Any]:
        reads, agent = principal.may(READ), services.settings.default_agent
        told: dict[str, Any] = {
            "presence": services.presence.rows() if reads else [],
            "health": told_health(services.health.picture()) if reads else {"ok": True},
            "uptimeMs": uptime_ms(),
            "stateVersion": dict(versions()),
            "sessionDefaults": {
                "defaultAgentId": agent, "mainKey": "main", "mainSessionKey": main_key(agent), "scope": "per-sender",
                "ownership": "sole", "selectionRequired": False,
            },
        }  # fmt: skip
        if principal.may(ADMIN):
            told |= {"authMode": services.settings.gateway.auth.mode, **about}
        return told

    return snapshot
