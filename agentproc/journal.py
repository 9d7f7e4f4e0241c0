"""The name of each tool call of a run, so that a turn run again gets the recorded answer instead of doing it twice.
Pure.

Owns: idempotency keys. A key is the run, what was asked, and how many times this run asked exactly that before; a turn
that asks the same things in another order therefore still finds its answers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Journal:
    """Counts the calls of one attempt of one run."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._asked: Counter[str] = Counter()

    def key(self, tool: str, args: Mapping[str, Any]) -> str:
        """The idempotency key of the next call of `tool` with `args`. Raises TypeError for arguments JSON cannot
        say."""
        digest = digest_of(tool, args)
        self._asked[digest] += 1
        return f"{self._run_id}:{digest}:{self._asked[digest]}"

    def action(self, name: str) -> str:
        """What the next action called `name` is called within the run."""
        return self.key("once", {"name": name}).removeprefix(f"{self._run_id}:")

    def forget(self, tool: str, args: Mapping[str, Any]) -> None:
        """The call just made was refused and nothing was recorded under its key: the next one that asks the same takes
        that key again. Else an attempt that was refused less often would ask under other keys and do twice what was
        done once."""
        self._asked[digest_of(tool, args)] -= 1


def canonical(args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON has them, keys in order, so that another attempt sends the same bytes. Raises TypeError for
    what JSON cannot say."""
    copy: dict[str, Any] = json.loads(json.dumps(args, sort_keys=True))
    return copy


def canonical_value(value: T, max_bytes: int) -> T:
    """A value as JSON has it, so that it is the same when it is told again. Raises TypeError for what JSON cannot
    say, ValueError for what is too long."""
    packed = json.dumps(value, separators=(",", ":"))
    if len(packed) > max_bytes:
        raise ValueError(f"a result of {len(packed)} bytes of JSON, at most {max_bytes} are kept")
    copy: T = json.loads(packed)
    return copy


def did_nothing(tool: str, result: Mapping[str, Any]) -> bool:
    """Whether a tool's answer says that nothing happened: refused by policy, or waited for children in vain."""
    status = result.get("status")
    return status == "forbidden" or (tool == "subagents" and status == "timeout")


def digest_of(tool: str, args: Mapping[str, Any]) -> str:
    """What was asked, in 16 hexadecimal digits; the order of keys does not matter."""
    text = json.dumps([tool, args], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
