"""Which crash point is next: the one that was hit least often, so that a run leaves none out.

Owns the order. A round's order follows from its seed alone, which for that reason carries what earlier rounds of the
run owe to each point: `SEED/NUMBER+DEBTS`, one digit per point. In a round every attempt counts, whether somebody came
by to obey or not: a place that nobody passes must not keep the others waiting."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from supervisor.crashpoints import POINTS

PLACES = tuple(point for point in POINTS if not point.startswith("gateway.cron."))
"""Those the suite's work passes; the points of cron have tests of their own (tests/process/test_cron_kill.py)."""
LEAST_HITS = 5
LONG_RUN = 1000
"""So many faults suffice for LEAST_HITS at every point."""
_MOST_OWED = 9


def debts_of(hits: Mapping[str, int]) -> str:
    """How much less often than the most hit one each point was hit, as the end of a round's seed; empty when all are
    even."""
    most = max(hits.get(point, 0) for point in PLACES)
    digits = "".join(str(min(_MOST_OWED, most - hits.get(point, 0))) for point in PLACES)
    return f"+{digits}" if digits.strip("0") else ""


def short_of(hits: Mapping[str, int], faults: int) -> list[str]:
    """The points a long run has hit less than LEAST_HITS times; a short one owes nothing."""
    return [point for point in PLACES if hits.get(point, 0) < LEAST_HITS] if faults >= LONG_RUN else []


class Turns:
    """The points of one round, one after the other. Among equals the lot decides. Raises ValueError for a seed whose
    debts are not one digit per point."""

    def __init__(self, seed: str, rng: random.Random) -> None:
        digits = seed.partition("+")[2] or "0" * len(PLACES)
        if len(digits) != len(PLACES) or not digits.isdecimal():
            raise ValueError(f"a round's debts are {len(PLACES)} digits, not {digits!r}")
        self._owed = dict(zip(PLACES, map(int, digits), strict=True))
        self._tried: Counter[str] = Counter()
        self._order = list(PLACES)
        rng.shuffle(self._order)

    def take(self) -> str:
        """The point whose turn it is."""
        point = min(self._order, key=lambda one: self._tried[one] - self._owed[one])
        self._tried[point] += 1
        return point
