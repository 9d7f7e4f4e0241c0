"""The agent that is there when nothing is configured: it needs no model and no network, and shows what agents can do
here."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import trio

from agentproc.context import Context, SpawnRefused, ToolRefused
from gateway.protocol.keys import is_agent_id, parse_key

HELP = """I am the built-in agent: I work offline and understand a few words.
  spawn TEXT         start a sub-agent on TEXT; its result comes back to this session
  send AGENT TEXT    send TEXT to another agent and tell its answer
  sessions           the sessions I may see
  history            the last messages of this session
  time               the time
  wait SECONDS       take that long (try aborting me)
  fail TEXT          fail with TEXT
Point `runtime` of an agent in the configuration at your own code to have it answer instead."""


async def turn(ctx: Context) -> str | None:
    """Carry out the word the message begins with; echo anything else."""
    if ctx.announce:
        name = ctx.announce.label or ctx.announce.child_session_key
        return f"Sub-agent {name} finished ({ctx.announce.status}): {ctx.announce.error or ctx.announce.result}"
    word, _, rest = ctx.message.strip().partition(" ")
    command = COMMANDS.get(word.lower())
    if command is None:
        return f"You said: {ctx.message}\n(I am the built-in offline agent; say help to see what I can do.)"
    try:
        return await command(ctx, rest.strip())
    except (SpawnRefused, ToolRefused) as refused:
        return f"That was refused: {refused}"


async def _help(ctx: Context, rest: str) -> str:
    return HELP


async def _spawn(ctx: Context, text: str) -> str:
    if not text:
        return "Say what the sub-agent is to do: spawn TEXT"
    child = await ctx.spawn(text)
    return f"Started {child.session_key} (run {child.run_id}); its result will come back here."


async def _send(ctx: Context, rest: str) -> str:
    target, _, text = rest.partition(" ")
    if not text.strip() or not (is_agent_id(target) or parse_key(target)):
        return "Say whom and what: send AGENT TEXT"
    result = await ctx.send(target, text.strip())
    if result.status == "ok":
        return f"{target} answered: {result.reply}"
    return f"{target}: {result.status}" + (f" ({result.error})" if result.error else "")


async def _sessions(ctx: Context, rest: str) -> str:
    rows = await ctx.sessions()
    return "\n".join(f"{row.get('key')}  {row.get('status') or ''}".rstrip() for row in rows) or "I see no sessions."


async def _history(ctx: Context, rest: str) -> str:
    messages = await ctx.history(limit=20)
    return "\n".join(f"{one.get('role')}: {_text_of(one)}" for one in messages) or "Nothing was said yet."


async def _time(ctx: Context, rest: str) -> str:
    return time.strftime("It is %Y-%m-%d %H:%M:%S %Z.")


async def _wait(ctx: Context, rest: str) -> str:
    try:
        seconds = min(86_400.0, max(0.0, float(rest)))
    except ValueError:
        return "Say how long: wait SECONDS"
    await ctx.say(f"waiting {seconds:g} s\n")
    await trio.sleep(seconds)
    return f"Waited {seconds:g} s."


async def _fail(ctx: Context, rest: str) -> str:
    raise RuntimeError(rest or "told to fail")


def _text_of(message: dict[str, object]) -> str:
    content = message.get("content", message.get("text", ""))
    if isinstance(content, list):
        content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content)[:500]


COMMANDS: dict[str, Callable[[Context, str], Awaitable[str]]] = {
    "help": _help,
    "spawn": _spawn,
    "send": _send,
    "sessions": _sessions,
    "history": _history,
    "time": _time,
    "wait": _wait,
    "fail": _fail,
}
