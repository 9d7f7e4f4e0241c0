"""A few methods for conversations with one connection, and what must be true when it is over."""

from __future__ import annotations

import trio

from gateway.protocol.errors import CloseReason
from gateway.router import Call
from tests.support.doors import Place


def health(call: Call) -> object:
    return {"who": call.principal.name}


async def status(call: Call) -> object:
    await trio.sleep(0.5)
    return "done"


async def wait_long(call: Call) -> object:
    await trio.sleep_forever()


def flood(call: Call) -> object:
    return "x" * 1_000_000


HANDLERS = {"health": health, "status": status, "agent.wait": wait_long, "config.get": flood}


async def gone(place: Place, reason: CloseReason) -> None:
    """Nobody is left, and the last to go went for `reason`."""
    await trio.testing.wait_all_tasks_blocked()
    assert len(place.registry) == 0
    assert place.hub.connections == 0
    assert set(place.came) == set(place.went)
    if place.went:
        assert place.went[-1].reason is reason
