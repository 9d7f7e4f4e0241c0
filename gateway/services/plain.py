"""What a worker hands over to be kept and told: as JSON, or it is refused by name.

What JSON cannot hold, or is deeper than the stack of whoever writes it again, would fail there, in the turn of
everybody who listens."""

from __future__ import annotations

import json
from typing import Any

from gateway.protocol.errors import invalid
from gateway.protocol.limits import MAX_DEPTH


def packed(value: Any, what: str) -> str:
    """`value` as JSON. Raises Refusal for what JSON cannot hold (bytes, times, keys that are no text) and for what is
    nested too deeply; `what` it is begins the sentence."""
    try:
        text = json.dumps(value, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise invalid(f"{what} cannot be written as JSON: {error}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value):
        raise invalid(f"{what} is nested more than {MAX_DEPTH} deep")
    return text


def plain(value: Any, what: str) -> Any:
    """`value` as a reader of its JSON has it. Raises as `packed`."""
    if isinstance(value, dict) and all(type(key) is type(one) is str for key, one in value.items()):
        return value  # what is said, a piece at a time
    return json.loads(packed(value, what))


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = [
            one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list | tuple)
        ]
        level = [one for members in inner for one in members]
        if not level:
            return False
    return any(isinstance(one, dict | list | tuple) for one in level)
