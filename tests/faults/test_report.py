"""What a run's last line says, and when the run was good."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.killer import Tally
from tests.faults.report import conclusion_of, table_of
from tests.faults.steering import PLACES

ALL = Counter(dict.fromkeys(PLACES, 5))
ALL_BUT_ONE = ALL - Counter({PLACES[2]: 1})


@pytest.mark.parametrize(
    ("faults", "points", "violations", "good", "words"),
    [
        (1000, ALL, [], True, "seed s: 1000 faults, 9 checks, 0 violations, fewest hits at a point 5"),
        (1000, ALL_BUT_ONE, [], False, f"fewest hits at a point 4, FEWER THAN 5 at {PLACES[2]}"),
        (1000, ALL, ["lost"], False, "1 violations"),
        (999, ALL, [], False, "seed s: 999 faults"),
    ],
)
def test_a_run_is_good_when_nothing_is_lost_and_no_point_left_out(faults, points, violations, good, words):
    tally = Tally(Counter({"kill": faults}), points, violations=violations, checks=9)
    verdict, said = conclusion_of("s", tally, 1000)
    assert verdict is good
    assert words in said


def test_a_short_run_may_leave_points_out():
    assert conclusion_of("s", Tally(Counter({"kill": 50})), 50)[0]


def test_the_table_names_every_point_with_its_hits_and_misses():
    lines = table_of(Tally(points=ALL_BUT_ONE, missed=Counter({PLACES[2]: 3})))
    assert f"      4  {PLACES[2]}  (3)" in lines
    assert len([line for line in lines if any(point in line for point in PLACES)]) == len(PLACES)
