"""What is printed: nothing a terminal would obey, and columns that stand below each other."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.cli import output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x07\r", "\\x07\\r"),
        ("\x9b31m", "\\x9b31m"),
        ("evil\u202etxt.exe", "evil\\u202etxt.exe"),
        ("name\udcff", "name\\udcff"),
        ("grün 文字", "grün 文字"),
    ],
)
def test_nothing_reaches_the_terminal_as_a_command(text: str, shown: str):
    assert output.clean(text) == shown


@given(st.text(st.characters()))
def test_whatever_was_cleaned_can_be_printed_and_obeys_nothing(text: str):
    cleaned = output.clean(text)
    cleaned.encode()
    assert all(each.isprintable() or each in "\n\t" or each.isspace() for each in cleaned if each < "\u00a0")
    assert output.clean(cleaned) == cleaned


def test_columns_stand_below_each_other_also_with_wide_letters():
    text = output.table(("NAME", "N"), [("文字", 1), ("abcdef", 22)], right=("N",))
    assert text.split("\n") == ["NAME     N", "文字     1", "abcdef  22"]


def test_an_empty_cell_is_a_dash_and_a_long_one_is_cut():
    lines = output.table(("A", "B"), [(None, "x" * 500)]).split("\n")
    assert lines[1].startswith("-  xxx")
    assert len(lines[1]) == 3 + 200


def test_columns_that_find_no_room_beside_the_others_go_below_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((12, 24)))
    monkeypatch.setattr("sys.stdout.fileno", lambda: 1, raising=False)

    def lines(*rows: tuple[object, ...]) -> list[str]:
        return output.table(("A", "B", "C"), rows, below=("B", "C")).split("\n")

    assert lines(("a", "bb", "cc")) == ["A  B   C", "a  bb  cc"]
    assert lines(("a", "b" * 8, "cc"), ("aa", None, "c"), ("aaa", None, None)) == [
        "A", "  B  C", "a", "  bbbbbbbb …", "aa", "  c", "aaa",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (150 * 1024, "150 KiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 30, "3.0 GiB"),
        (None, "-"),
    ],
)
def test_sizes(count: int | None, text: str):
    assert output.size(count) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1 s"),
        (61_000, "1 min"),
        (7_200_000, "2 h"),
        (172_800_000, "2 d"),
        (None, "-"),
    ],
)
def test_spans(milliseconds: int | None, text: str):
    assert output.span(milliseconds) == text


def test_ago_never_looks_into_the_future():
    assert output.ago(1_000, now=61) == "1 min ago"
    assert output.ago(99_000, now=1) == "0 ms ago"
