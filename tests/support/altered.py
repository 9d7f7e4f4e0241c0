"""A message of the supervisor's with something changed."""

from __future__ import annotations

from typing import TypeVar

from supervisor.messages import Message

M = TypeVar("M", bound=Message)


def altered(message: M, **changes: object) -> M:
    """The same with other values for some of its fields."""
    return type(message)(**vars(message) | changes)
