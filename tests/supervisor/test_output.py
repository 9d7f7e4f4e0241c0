"""What children print: the throttle as a table, lines from any cut of the bytes, a reader that never stops reading."""

from __future__ import annotations

import os

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from supervisor.output import MAX_LINE_BYTES, Lines, Throttle, record_of, serve_output, text_of, timestamp


@pytest.mark.parametrize(
    ("story", "passed"),
    [
        ([(0.0, 10)] * 3, [True, True, True]),
        ([(0.0, 10)] * 4, [True, True, True, False]),
        ([(0.0, 10)] * 3 + [(1.0, 10)], [True, True, True, True]),
        ([(0.0, 90), (0.0, 20), (0.0, 10)], [True, False, True]),  # a smaller line still fits
        ([(0.0, 1000), (0.0, 1)], [True, False]),  # larger than a bucket: passes alone, and empties it
        ([(0.0, 10)] * 4 + [(-5.0, 10)], [True, True, True, False, False]),  # a clock that went back fills nothing
    ],
)
def test_what_passes_the_throttle(story: list[tuple[float, int]], passed: list[bool]):
    throttle = Throttle(3, 100)
    assert [throttle.allows(size, now) for now, size in story] == passed
    assert throttle.take_dropped()[0] == passed.count(False)
    assert throttle.take_dropped() == (0, 0)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 50)), max_size=200))
def test_no_second_lets_more_than_two_seconds_worth_through(lines: list[tuple[float, int]]):
    throttle = Throttle(5, 100)
    passed = [(now, size) for now, size in sorted(lines) if throttle.allows(size, now)]
    for start, _ in passed:
        window = [size for now, size in passed if start <= now < start + 1]
        assert len(window) <= 10
        assert sum(window) <= 250


@given(st.binary(max_size=300).map(lambda data: data.replace(b"\r", b"")), st.integers(1, 7))
def test_lines_do_not_depend_on_how_the_bytes_were_cut(data: bytes, step: int):
    lines, pieces = Lines(), []
    for start in range(0, len(data), step):
        pieces += lines.feed(data[start : start + step])
    assert b"\n".join(line for line, _ in pieces + lines.end()) == data.removesuffix(b"\n")


def test_a_line_without_end_costs_no_more_memory_than_one_line():
    lines = Lines()
    for _ in range(100):
        assert lines.feed(b"x" * 65536) == []
    ((line, cut),) = lines.feed(b"\n")
    assert len(line) == MAX_LINE_BYTES
    assert text_of(line, cut).endswith(f"[{100 * 65536 - MAX_LINE_BYTES} bytes cut]")


def test_bytes_that_are_no_text_are_written_as_such():
    assert text_of(b"caf\xc3\xa9 \xff", 0) == r"café \xff"


@pytest.mark.parametrize(
    ("text", "is_record"),
    [
        ('{"level": "info", "msg": "hello"}', True),
        ('{"level": "loud", "msg": "hello"}', False),
        ('{"level": "info"}', False),
        ('{"level": "info", "msg": 3}', False),
        ('{"level": ["info"], "msg": "hello"}', False),
        ('{"level": {"name": "info"}, "msg": "hello"}', False),
        ("[1]", False),
        ("{broken", False),
        ("[" * 100_000, False),
        ("{" + '"a":{' * 100_000, False),
        ("plain", False),
    ],
)
def test_a_record_is_only_what_has_a_level_and_words(text: str, is_record: bool):
    assert (record_of(text) is not None) == is_record


def test_a_record_without_a_sensible_time_gets_one():
    assert timestamp({"ts": 17}) == 17
    assert timestamp({"ts": "yesterday"}) > 1e12


async def test_a_child_that_prints_without_end_is_read_dropped_and_told(autojump_clock):
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    kept: list[str] = []
    told: list[int] = []
    sizes: list[int] = []
    wrote = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            serve_output, readable, Throttle(5, 1000), kept.append, lambda lines, size: told.append(lines), sizes.append
        )
        for _ in range(50):  # each round more than the pipe holds, if nobody read
            wrote += os.write(writable, b"spam\n" * 12_000)
            await trio.testing.wait_all_tasks_blocked()
        os.close(writable)
    assert kept[:5] == ["spam"] * 5
    assert len(kept) + sum(told) == wrote // 5
    assert sum(sizes) == wrote


async def test_the_last_words_without_a_line_end_are_kept():
    readable, writable = os.pipe()
    os.write(writable, b"first\nlast words")
    os.close(writable)
    kept: list[str] = []
    await serve_output(readable, Throttle(5, 1000), kept.append, lambda lines, size: None)
    assert kept == ["first", "last words"]
