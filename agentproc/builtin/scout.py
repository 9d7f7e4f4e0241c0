"""The agent that looks at one file, or at a text it is given, and says what it is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

import trio

from agentproc.builtin.filereport import report, report_on_text
from agentproc.context import NO_REPLY, Context

Args = TypeVarTuple("Args")
Result = TypeVar("Result")


async def turn(ctx: Context) -> str | None:
    """Answer a path, or `{"root", "path"}` as JSON, with the report on that file; anything else with the report on the
    text itself."""
    if ctx.announce:
        return NO_REPLY
    task = task_in(ctx.message)
    if task is not None and isinstance(task.get("path"), str):
        root = task.get("root")
        found = await look(str(root), task["path"]) if root else await in_thread(look_at_path, task["path"])
        return json.dumps(found)
    found = await in_thread(look_at_path, ctx.message.strip())
    if found is not None:
        return described(ctx.message.strip(), found)
    return described("the text", report_on_text(ctx.message))


async def look(root: str, path: str) -> dict[str, Any]:
    """The report, made in a thread: a file may be large or its disk slow. An abort does not wait for it."""
    return await in_thread(report, root, path)


def look_at_path(path: str) -> dict[str, Any] | None:
    """The report on a path that stands by itself, or None when there is nothing of that name."""
    path = os.path.abspath(os.path.expanduser(path))
    if "\0" in path or not os.path.lexists(path):
        return None
    return report(*os.path.split(path))


async def in_thread(function: Callable[[*Args], Result], *args: *Args) -> Result:
    """Run `function` in a thread that an abort leaves to itself."""
    return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)


def task_in(message: str) -> dict[str, Any] | None:
    """The JSON object a message is, or None when it is anything else."""
    if not message.lstrip().startswith("{"):
        return None
    try:
        task = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return task if isinstance(task, dict) else None


def described(name: str, found: dict[str, Any]) -> str:
    """A report as a sentence."""
    if "error" in found:
        return f"{name}: {found['error']}"
    facts = [str(found[key]) for key in ("language", "kind") if key in found]
    facts += [f"{found[key]} {key}" for key in ("lines", "words", "bytes") if key in found]
    if "longestLine" in found:
        facts.append(f"longest line {found['longestLine']}")
    return f"{name}: {', '.join(facts)}, sha256 {found['sha256']}"
