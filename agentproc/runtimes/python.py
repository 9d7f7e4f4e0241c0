"""The runtime of agents written in Python: find `module:function`, call it, tell its mistakes.

A plain `def` is refused: it would have to run in a thread, and a thread cannot be aborted."""

from __future__ import annotations

import difflib
import importlib
import inspect
import logging
import sys
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import trio

from agentproc import trees
from agentproc.context import Context
from agentproc.failure import describe
from agentproc.limits import key_of
from agentproc.runtimes.base import TurnFailed

_log = logging.getLogger("agentproc.python")

_ABORTS = (trio.Cancelled, GeneratorExit)
TurnFunction = Callable[[Context], Awaitable[Any]]


class PythonRuntime:
    """Calls one async function per turn. It is imported at the first turn, so that a mistake in it is a failed run that
    says so, and again at the next turn if that failed. `output_bytes` bounds its reply."""

    def __init__(self, entry: str, path: str | None = None, output_bytes: int | None = None) -> None:
        self._entry = entry
        self._output_bytes = output_bytes
        self._path = path
        self._function: TurnFunction | None = None

    async def run_turn(self, ctx: Context) -> str | None:
        """Do the turn. Raises TurnFailed with the agent's own error. What a turn that ends badly has started ends with
        it; what one that is done left in the background goes on as long as its worker."""
        trees.set_aside()
        before = trees.descendants()
        try:
            return await self._call(ctx)
        except BaseException:
            with trio.CancelScope(shield=True):
                await trees.sweep(before)
            raise

    async def _call(self, ctx: Context) -> str | None:
        if self._function is None:
            self._function = find(self._entry, self._path)
        try:
            reply: str | None = await self._function(ctx)
        except BaseException as error:  # KeyboardInterrupt, SystemExit too: a mistake of one turn ends no worker
            if _is_abort(error):
                raise
            _log.exception("turn failed", extra={"run": ctx.run_id})
            raise TurnFailed(describe(error)) from None
        if self._output_bytes is not None and isinstance(reply, str):
            size = len(reply.encode("utf-8", "surrogatepass"))
            if size > self._output_bytes:
                allowed = f"{self._output_bytes} are allowed ({key_of('outputBytes')})"
                raise TurnFailed(f"a reply of {size} bytes, {allowed}")
        return reply


def _is_abort(error: BaseException) -> bool:
    """Whether the turn was ended from outside, and what went wrong on the way out may come with it."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(_ABORTS) is not None
    return isinstance(error, _ABORTS)


def find(entry: str, path: str | None) -> TurnFunction:
    """The function `module:function` names; `path` is searched first. Raises TurnFailed."""
    name, _, attribute = entry.partition(":")
    module = _import(name, path)
    function = getattr(module, attribute, None)
    if function is None:
        near = difflib.get_close_matches(attribute, [one for one in vars(module) if not one.startswith("_")], n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise TurnFailed(f'runtime.entry "{entry}": module {name} ({module.__file__}) has no "{attribute}"{hint}')
    if not inspect.iscoroutinefunction(function) and not inspect.iscoroutinefunction(type(function).__call__):
        raise TurnFailed(f'runtime.entry "{entry}": {attribute} must be written as `async def {attribute}(ctx)`')
    found: TurnFunction = function
    return found


def _import(name: str, path: str | None) -> ModuleType:
    if path is not None and path not in sys.path:
        sys.path.insert(0, path)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise TurnFailed(f"importing {name} failed: {describe(error)}") from None
        where = f"in {path}" if path is not None else "and runtime.path, the directory to look in, is not set"
        raise TurnFailed(f'runtime.entry: there is no module "{name}" {where}') from None
    except BaseException as error:  # nothing is awaited here, so this is no abort
        _log.exception("import of %s failed", name)
        raise TurnFailed(f"importing {name} failed: {describe(error)}") from None
