"""Agents the measurements use. Each answers with the clock, so that both ends of a step can be compared: one machine,
one clock."""

from __future__ import annotations

import json
import time
from typing import Any

import trio


async def echo(ctx: Any) -> str:
    """Answer at once, with when the turn began."""
    return json.dumps({"began": time.time()})


async def spawner(ctx: Any) -> str:
    """Spawn children one after the other: when each call was made, how long it took, when the child began, when it
    was heard of."""
    order = json.loads(ctx.message) if ctx.message.startswith("{") else None
    if order is None:
        return json.dumps({"began": time.time()})
    rows: list[dict[str, float]] = []
    async with ctx.steer() as inbox:
        for _ in range(order["children"]):
            called = time.time()
            await ctx.spawn("begin")
            returned = time.time()
            mail = await anext(aiter(inbox))
            heard = time.time()
            told = json.loads(mail.provenance["result"])
            rows.append({"call": returned - called, "first": told["began"] - called, "heard": heard - told["began"]})
    return json.dumps(rows)


async def parent(ctx: Any) -> str:
    """Spawn one child and end; the announce is a run of its own, and says when it began."""
    if ctx.message == "go":
        await ctx.spawn("begin")
        return "spawned"
    if ctx.message == "begin":
        return json.dumps({"began": time.time()})
    began = time.time()
    told = json.loads(ctx.provenance["result"])
    return json.dumps({"delay": began - told["began"]})


async def busy(ctx: Any) -> str:
    """Burn one core for as many seconds as the message says; a checkpoint now and then, as a polite agent would."""
    if ctx.message == "begin":
        return json.dumps({"began": time.time()})
    until = time.monotonic() + float(ctx.message)
    while time.monotonic() < until:
        sum(i * i for i in range(20_000))
        await trio.lowlevel.checkpoint()
    return "burnt"


async def sink(ctx: Any) -> str:
    """Stay in one turn for as many seconds as the message says, so that what follows waits in the mailbox."""
    await trio.sleep(float(ctx.message))
    return "slept"
