"""The agents of the workload: they do as their message orders and write down, in files of their own, what happened to
them.

Owns the agents' side of the evidence. Every line is on disk before the turn goes on, so a line that is missing is a
thing that did not happen. A turn takes its session's lock for as long as it lives: two turns at once would show."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import trio

from agentproc.context import Child, Context, SpawnRefused, ToolRefused
from agentproc.inbox import Announce

DIRECTORY_VARIABLE = "FAULTS_DIRECTORY"
STEER_SECONDS = 1.0
WAIT_SECONDS = 20.0
ASK_SECONDS = 15
DAEMON_SECONDS = 86_400


class Book:
    """One attempt's lines in its session's file, and the session's lock."""

    def __init__(self, ctx: Context) -> None:
        directory = Path(os.environ[DIRECTORY_VARIABLE])
        name = ctx.session_key.replace(":", "_")
        self._ctx = ctx
        self._lock = os.open(directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._file = os.open(
            directory / f"{name}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_DSYNC | os.O_CLOEXEC, 0o666
        )

    def __enter__(self) -> Book:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.write("overlap")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
        os.close(self._lock)

    def write(self, what: str, **more: Any) -> None:
        """One line, on disk when this returns."""
        ctx = self._ctx
        line = {"what": what, "session": ctx.session_key, "run": ctx.run_id, "attempt": ctx.attempt, "pid": os.getpid()}
        os.write(self._file, json.dumps({**line, "at": time.monotonic(), **more}).encode() + b"\n")


async def turn(ctx: Context) -> str | None:
    """Do what the message says."""
    with Book(ctx) as book:
        if ctx.announce is not None:
            book.write("begin", announce=ctx.announce.run_id)
            await hear(ctx, book, ctx.announce)
            return None
        order = json.loads(ctx.message)
        book.write("begin", id=order["id"])
        reply = await ORDERS[order["do"]](ctx, book, order)
        book.write("reply", id=order["id"], reply=reply)
        return reply


REMEMBERED = 200
"""Children in a session's state, the newest: more than a round has, and in a soak the work stays the same."""


async def hear(ctx: Context, book: Book, told: Announce) -> None:
    """A child's result: written down each time it is told, counted once, in the session's state."""
    book.write("heard", child=told.run_id, status=told.status, result=told.result)
    heard = ctx.state.setdefault("heard", {})
    if told.run_id not in heard:
        heard[told.run_id] = told.result
        while len(heard) > REMEMBERED:
            del heard[next(iter(heard))]
        await ctx.save_state()


async def plain(ctx: Context, book: Book, order: dict[str, Any]) -> str:
    """Say a few words and answer."""
    for word in range(3):
        await ctx.say(f"{order['id']} {word}\n")
        await trio.sleep(order.get("work", 0) / 3000)
    return f"re:{order['id']}"


async def tool(ctx: Context, book: Book, order: dict[str, Any]) -> str:
    """Run a program, and leave another behind that goes its own way."""
    daemon = ["setsid", "-f", "sh", "-c", f"sleep {DAEMON_SECONDS}; : {os.environ[DIRECTORY_VARIABLE]}"]
    await trio.run_process(daemon, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await trio.run_process(["sleep", str(order.get("work", 50) / 1000)], check=False)
    return await plain(ctx, book, {"id": order["id"]})


async def family(ctx: Context, book: Book, order: dict[str, Any]) -> str:
    """Start children and listen to them for a while; who is late is heard in a turn of its own."""
    left = {child.run_id for child in await start_children(ctx, book, order, announce=True)}
    until = trio.current_time() + STEER_SECONDS
    async with ctx.steer() as inbox:
        # The time is for waiting only: a message that was taken is dealt with to the end.
        while left and (mail := await inbox.get(max(0.0, until - trio.current_time()))) is not None:
            if mail.announce is not None:
                await hear(ctx, book, mail.announce)
                left.discard(mail.announce.run_id)
            else:
                book.write("noted", id=json.loads(mail.text)["id"])
    return f"re:{order['id']}"


async def waited(ctx: Context, book: Book, order: dict[str, Any]) -> str:
    """Start children and wait for them."""
    children = await start_children(ctx, book, order, announce=bool(order.get("announce")))
    left = {child.run_id: child for child in children}
    with trio.move_on_after(WAIT_SECONDS):
        while left:
            try:
                found = await ctx.wait_children(left.values(), timeout=5)
            except ToolRefused as refused:
                book.write("refused", why=str(refused), code=refused.code)
                break
            for told in found:
                book.write("waited", child=told.run_id, status=told.status, result=told.result)
                left.pop(told.run_id, None)
    return f"re:{order['id']}"


async def start_children(ctx: Context, book: Book, order: dict[str, Any], *, announce: bool) -> list[Child]:
    """The children an order names, each with an order of its own."""
    children = []
    for number, wanted in enumerate(order["children"]):
        task = json.dumps({**wanted["order"], "id": f"{order['id']}/c{number}"})
        try:
            child = await ctx.spawn(task, agent_id=wanted["agent"], announce=announce)
        except SpawnRefused as refused:
            book.write("refused", why=str(refused), code=refused.status)
            continue
        name = f"{order['id']}/c{number}"
        book.write("spawned", child=child.run_id, key=child.session_key, id=name, announces=announce)
        children.append(child)
    return children


async def post(ctx: Context, book: Book, order: dict[str, Any]) -> str:
    """Write to another agent without waiting."""
    for number in range(order.get("letters", 2)):
        name = f"{order['id']}/p{number}"
        result = await ctx.send(order["peer"], json.dumps({"id": name, "do": "plain"}), timeout=0)
        book.write("sent", id=name, peer=order["peer"], status=result.status, to=result.run_id, error=result.error)
    return f"re:{order['id']}"


async def ask(ctx: Context, book: Book, order: dict[str, Any]) -> str:
    """Write to another agent and wait for its answer."""
    name = f"{order['id']}/a0"
    result = await ctx.send(order["peer"], json.dumps({"id": name, "do": "plain"}), timeout=ASK_SECONDS)
    book.write(
        "sent", id=name, peer=order["peer"], status=result.status, to=result.run_id, reply=result.reply,
        error=result.error,
    )  # fmt: skip
    return f"re:{order['id']}"


async def tell(ctx: Context, book: Book, order: dict[str, Any]) -> str:
    """Say what this session remembers."""
    return json.dumps(ctx.state)


ORDERS = {
    "plain": plain, "tool": tool, "family": family, "waited": waited, "post": post, "ask": ask, "tell": tell,
}  # fmt: skip
