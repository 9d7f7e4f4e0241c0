"""Where the limits of this worker are written, so that whoever hits one is told what to change.

Owns the keys. They came with the limits themselves, at birth, and stay as those do: a reload counts for the next
worker. One process has one agent, so there is one such table."""

from __future__ import annotations

from collections.abc import Mapping

MOST_OUTPUT_BYTES = 768 * 1024
"""Of what a program writes in a turn: a reply fits a worker's frame (1 MiB)."""

_keys: dict[str, str] = {}


def set_keys(keys: Mapping[str, str]) -> None:
    """What each limit's key is, in full, by its last word. Once, before the first turn."""
    _keys.clear()
    _keys.update(keys)


def key_of(name: str) -> str:
    """The key of a limit, `agents.entries.main.limits.openFiles` for one; without its place where nobody told it."""
    return _keys.get(name, f"limits.{name}")


def output_limit(allowed: int) -> str:
    """What a program may write, in words that say where that can be changed."""
    only_less = " can only make it less" if allowed == MOST_OUTPUT_BYTES else ""
    return f"{allowed} bytes ({key_of('outputBytes')}{only_less})"
