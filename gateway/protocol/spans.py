"""Lengths of time as people write them: 90s, 10m, 1h30m. Pure.

Owns the units. Weeks are seven days, days are 24 hours."""

from __future__ import annotations

import re

_MS = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)(ms|min|s|m|h|d|w)")
_WHOLE = re.compile(rf"\+?(?:{_PART.pattern})+")
EXAMPLES = "90s, 10m, 1h30m, 2d"


def parse_span(text: str) -> int | None:
    """Milliseconds; None for what is no length of time. A plus in front changes nothing."""
    word = "".join(text.split()).lower()
    if not _WHOLE.fullmatch(word):
        return None
    return round(sum(float(count) * _MS[unit] for count, unit in _PART.findall(word)))
