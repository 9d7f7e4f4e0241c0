"""What a figure says beside its budget."""

from __future__ import annotations

import pytest

from tests.bench.load import percentile
from tests.bench.row import Row, table


@pytest.mark.parametrize(
    ("value", "budget", "better", "met"),
    [
        (9.9, 10, "low", True),
        (10.0, 10, "low", True),
        (10.1, 10, "low", False),
        (9.9, 10, "high", False),
        (10.0, 10, "high", True),
        (10.1, 10, "high", True),
        (10.1, None, "low", None),
        (10.1, None, "high", None),
    ],
)
def test_a_budget_is_kept_up_to_its_very_edge_and_without_one_nothing_is_missed(value, budget, better, met):
    assert Row("x", value, "ms", budget, better).met is met


def test_the_table_names_every_figure_its_budget_the_verdict_and_the_floor():
    rows = [
        Row("a call", 12.34, "ms", 10, floor=1.5, floor_is="nothing at all"),
        Row("many", 51234.5, "/s", 40_000, "high"),
        Row("only to read", 3, "MB"),
    ]
    head, *lines = (line.split() for line in table(rows).splitlines())
    assert head == ["what", "measured", "budget", "floor", "in", "the", "same", "run"]
    assert lines == [
        ["a", "call", "12.3", "ms", "≤", "10", "MISSED", "1.5", "(nothing", "at", "all)"],
        ["many", "51234", "/s", "≥", "40000", "met"],
        ["only", "to", "read", "3.0", "MB"],
    ]


def test_a_name_of_any_length_keeps_the_columns_in_line():
    head, short, long = table([Row("x", 1, "ms", 2), Row("x" * 90, 1, "ms", 2)]).splitlines()
    assert short.index("≤") == long.index("≤") == head.index("budget") + 3


@pytest.mark.parametrize(("wanted", "value"), [(0, 1), (50, 51), (99, 100), (100, 100)])
def test_a_percentile_is_one_of_the_values_and_not_between_two(wanted, value):
    assert percentile(range(1, 101), wanted) == value
