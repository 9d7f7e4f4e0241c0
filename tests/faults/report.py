"""What the suite prints. Owns the words and the table, nothing else."""

from __future__ import annotations

from tests.faults.killer import Tally
from tests.faults.steering import LEAST_HITS, PLACES, short_of


def line_of(number: int, seed: str, tally: Tally, seconds: float) -> str:
    """One round."""
    verdict = "ok" if not tally.violations else f"{len(tally.violations)} VIOLATIONS"
    return (
        f"round {number:3}  seed {seed:<14} {tally.total:4} faults {tally.checks:6} checks {seconds:6.1f} s  {verdict}"
    )


def table_of(tally: Tally) -> list[str]:
    """Faults by kind and by point."""
    lines = ["", "faults, with work in flight"]
    lines += [f"  {count:5}  {name}" for name, count in sorted(tally.faults.items(), key=lambda item: -item[1])]
    lines += ["", "of these at named points (and orders nobody came by to obey)"]
    lines += [f"  {tally.points[point]:5}  {point}  ({tally.missed[point]})" for point in PLACES]
    return lines


def conclusion_of(seed: str, tally: Tally, wanted: int) -> tuple[bool, str]:
    """Whether a run was good, and its last line: nothing violated, as many faults as wanted, and in a long run every
    named point hit often enough."""
    short = short_of(tally.points, tally.total)
    words = f"seed {seed}: {tally.total} faults, {tally.checks} checks, {len(tally.violations)} violations"
    words += f", fewest hits at a point {min(tally.points[point] for point in PLACES)}"
    if short:
        words += f", FEWER THAN {LEAST_HITS} at {', '.join(short)}"
    return not (tally.violations or short or tally.total < wanted), words


def replay_of(seed: str, faults: int) -> str:
    """How to see a failing round again."""
    return f"to replay: make faults SEED={seed} FAULTS={faults}"
