"""What one figure is, and how many of them become a table.

Owns the verdict: a figure meets its budget or misses it, and one without a budget is for reading only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `budget` is what the design allows, `better` says in which direction it is one ("low" or "high");
    `floor` is what the machine itself does in the same unit, `floor_is` says doing what."""

    what: str
    value: float
    unit: str
    budget: float | None = None
    better: str = "low"
    floor: float | None = None
    floor_is: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the budget is kept; None when there is none."""
        if self.budget is None:
            return None
        return self.value <= self.budget if self.better == "low" else self.value >= self.budget


def table(rows: Sequence[Row]) -> str:
    """The rows as a person reads them."""
    width = max((len(row.what) for row in rows), default=0) + 1
    head = f"{'what':<{width}}{'measured':>14}{'budget':>12}  {'':<7}floor in the same run"
    return "\n".join([head, *(_line(row, width) for row in rows)])


def _line(row: Row, width: int) -> str:
    mark = {True: "met", False: "MISSED", None: ""}[row.met]
    budget = f"{'≤' if row.better == 'low' else '≥'} {row.budget:g}" if row.budget is not None else ""
    floor = f"{_number(row.floor)} ({row.floor_is})" if row.floor is not None else ""
    return f"{row.what:<{width}}{_number(row.value):>9} {row.unit:<4}{budget:>12}  {mark:<7}{floor}".rstrip()


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}"
