"""The order in which crash points have their turn."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.faults.steering import LEAST_HITS, LONG_RUN, PLACES, Turns, debts_of, short_of

EVEN = dict.fromkeys(PLACES, 7)


def turns(seed: str, count: int) -> list[str]:
    taken = Turns(seed, random.Random(seed))
    return [taken.take() for _ in range(count)]


def test_every_point_has_its_turn_before_one_has_a_second():
    taken = turns("7f3a/1", 3 * len(PLACES))
    for start in range(0, len(taken), len(PLACES)):
        assert sorted(taken[start : start + len(PLACES)]) == sorted(PLACES)


def test_the_seed_is_the_order():
    assert turns("7f3a/1", 60) == turns("7f3a/1", 60)
    assert turns("7f3a/1", 60) != turns("7f3a/2", 60)


def test_what_was_hit_least_is_next_until_it_has_caught_up():
    hits = EVEN | {PLACES[3]: 4, PLACES[9]: 6}
    assert debts_of(hits) == f"+{'0' * 3}3{'0' * 5}1{'0' * (len(PLACES) - 10)}"
    first = turns(f"7f3a/2{debts_of(hits)}", 4)
    assert Counter(first) == {PLACES[3]: 3, PLACES[9]: 1}
    assert first[:2] == [PLACES[3]] * 2


def test_a_place_nobody_passes_does_not_keep_the_others_waiting():
    taken = turns(f"7f3a/9{debts_of(EVEN | {PLACES[0]: 0})}", 7 + len(PLACES))
    assert taken[:7] == [PLACES[0]] * 7
    assert sorted(taken[7:]) == sorted(PLACES)


@pytest.mark.parametrize(("hits", "debts"), [({}, ""), (EVEN, ""), ({PLACES[0]: 30}, "+0" + "9" * (len(PLACES) - 1))])
def test_debts_are_one_digit_per_point_or_nothing(hits: dict[str, int], debts: str):
    assert debts_of(hits) == debts


@pytest.mark.parametrize("seed", ["7f3a/2+12", "7f3a/2+" + "x" * len(PLACES)])
def test_a_seed_that_is_no_seed_is_refused(seed: str):
    with pytest.raises(ValueError, match="digits, not"):
        Turns(seed, random.Random(seed))


def test_a_long_run_that_leaves_a_point_out_has_failed_and_a_short_one_has_not():
    lacking = EVEN | {PLACES[5]: LEAST_HITS - 1, PLACES[6]: LEAST_HITS}
    assert short_of(lacking, LONG_RUN) == [PLACES[5]]
    assert short_of(lacking, LONG_RUN - 1) == []
    assert short_of({}, LONG_RUN) == list(PLACES)
