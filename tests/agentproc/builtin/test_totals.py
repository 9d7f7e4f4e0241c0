"""Totals and duplicates, in one part or in many."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentproc.builtin.totals import add_up, parts_of, row_of, summarise

ROWS = st.lists(
    st.tuples(
        st.text(max_size=8),
        st.sampled_from(["Python", "Text"]),
        st.integers(0, 9),
        st.integers(0, 9),
        st.just(5),
        st.one_of(st.none(), st.sampled_from("abcd")),
    ).map(list),
    max_size=30,
    unique_by=lambda row: row[0],
)


def test_files_are_added_up_and_equal_ones_named():
    rows: list[list[Any]] = [
        ["a.py", "Python", 10, 20, 100, "h1"],
        ["b.py", "Python", 10, 20, 100, "h1"],
        ["c.md", "Markdown", 1, 2, 3, "h2"],
        ["fifo", None, None, None, None, None],
    ]
    assert summarise(rows) == {
        "totals": {
            "files": 4, "unread": 1, "lines": 21, "words": 42, "bytes": 203,
            "languages": {"Python": 2, "Markdown": 1},
        },
        "duplicates": [{"sha256": "h1", "bytes": 100, "paths": ["a.py", "b.py"]}],
    }  # fmt: skip


def test_a_report_of_what_could_not_be_read_is_a_row_without_figures():
    assert row_of({"path": "x", "error": "no"}) == ["x", None, None, None, None, None]


def test_five_hundred_files_fit_one_message():
    rows = [[f"some/deep/folder/of/a/project/file_{n}.py", "Python", n, n, n, f"{n:064x}"] for n in range(500)]
    (part,) = parts_of(rows)
    assert len(json.dumps(part)) < 262_144


@given(ROWS, st.integers(40, 400))
def test_in_however_many_parts_the_sum_is_the_same(rows: list[list[Any]], limit: int):
    parts = parts_of(rows, limit)
    assert sorted(map(str, (row for part in parts for row in part))) == sorted(map(str, rows))
    whole, summed = summarise(rows), add_up(map(summarise, parts))
    assert summed["totals"] == whole["totals"]
    if all(sum(len(json.dumps(row)) + 2 for row in rows if row[5] == hash_) <= limit for hash_ in "abcd"):
        assert summed["duplicates"] == whole["duplicates"]


def test_no_part_is_longer_than_its_limit():
    rows = [[f"f{n}", "Text", 1, 1, 1, "same"] for n in range(100)]
    assert all(len(json.dumps(part)) <= 300 for part in parts_of(rows, 300))
