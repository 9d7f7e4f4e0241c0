"""Agents the measurements use. Each answers with the clock, so that both ends of a step can be compared: one machine,
one monotonic clock."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import trio

from agentproc.context import Context

BEGIN = "begin"
"""The message to a child: answer with the clock."""


def now() -> str:
    """The clock as a reply."""
    return json.dumps({"began": time.monotonic()})


async def echo(ctx: Context) -> str:
    """Answer at once, with when the turn began."""
    return now()


async def spawner(ctx: Context) -> str:
    """Spawn children one after the other: how long each call took, when the child began, when it was heard of."""
    if ctx.message == BEGIN:
        return now()
    rows: list[dict[str, float]] = []
    async with ctx.steer() as inbox:
        for _ in range(json.loads(ctx.message)["children"]):
            called = time.monotonic()
            await ctx.spawn(BEGIN)
            returned = time.monotonic()
            mail = await anext(aiter(inbox))
            heard = time.monotonic()
            told = json.loads(mail.provenance["result"])
            rows.append({"call": returned - called, "first": told["began"] - called, "heard": heard - told["began"]})
    return json.dumps(rows)


async def parent(ctx: Context) -> str:
    """Spawn one child and end with its run's id; the announce is a run of its own, and says how long after the child's
    last line it began."""
    if ctx.message == BEGIN:
        return now()
    if ctx.announce is None:
        return (await ctx.spawn(BEGIN)).run_id
    return json.dumps({"delay": time.monotonic() - json.loads(ctx.announce.result)["began"]})


async def busy(ctx: Context) -> str:
    """Burn one core until aborted; a checkpoint now and then, as a polite agent would."""
    while True:
        sum(i * i for i in range(20_000))
        await trio.lowlevel.checkpoint()


async def flood(ctx: Context) -> str:
    """Say a line, over and over, until aborted. The checkpoint lets the worker send: without it nothing would leave."""
    while True:
        await ctx.say("a line of progress that nobody asked for, and of a usual length\n")
        await trio.lowlevel.checkpoint()


async def sink(ctx: Context) -> None:
    """Stay in one turn until aborted, so that what follows waits in the mailbox."""
    await trio.sleep_forever()


async def marker(ctx: Context) -> None:
    """Write a first line into the pipe the message names, then stay until aborted: who was killed begins again, and
    the line says so."""
    _first_line(Path(ctx.message), ctx)
    await trio.sleep_forever()


def _first_line(pipe: Path, ctx: Context) -> None:
    # Shorter than PIPE_BUF, so lines of several writers stay whole (pipe(7)).
    line = {"at": time.monotonic(), "pid": os.getpid(), "session": ctx.session_key, "attempt": ctx.attempt}
    with pipe.open("w") as writer:
        writer.write(json.dumps(line) + "\n")
