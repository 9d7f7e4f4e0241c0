"""How many frames are dealt with at once, and what may come before anybody is let in: so many bytes, in so many frames,
however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.link.bounds import MAX_FRAMES, Early, Frames
from tests.gateway.link.ends import CLOSE, PING, TEXT, frame

SIZES = st.sampled_from([0, 1, 5, 125, 126, 127, 300, 65_535, 65_536, 70_000])


FRAMES = st.lists(st.tuples(st.sampled_from([0, TEXT, CLOSE, PING]), SIZES), min_size=1, max_size=6)
CUTS = st.lists(st.integers(1, 70_000), max_size=12)


@given(frames=FRAMES, cuts=CUTS)
def test_frames_are_counted_however_they_arrive(frames, cuts: list[int]):
    data = b"".join(frame(kind, b"\x88" * size) for kind, size in frames)
    pieces, at = [], 0
    for size in [*cuts, len(data)]:
        pieces.append(data[at : at + size])
        at += size
    enough, few = Early(len(data), len(frames)), Early(len(data), len(frames) - 1)
    assert all(enough.admits(piece) for piece in pieces)
    assert not all(few.admits(piece) for piece in pieces)


@given(frames=FRAMES, cuts=CUTS, most=st.integers(1, 7))
def test_what_is_taken_holds_no_more_frames_than_asked_for_and_all_is_taken_in_the_end(frames, cuts, most: int):
    whole = [frame(kind, b"\x88" * size) for kind, size in frames]
    data, counter, taken, at, counts = b"".join(whole), Frames(), 0, 0, []
    for size in [*cuts, len(data)]:
        piece, at = data[at : at + size], at + size
        while piece:
            count, size_taken = counter.take(piece, most)
            assert 0 < size_taken <= len(piece)
            assert count <= most
            begun = [start for start in starts(whole) if taken <= start < taken + size_taken]
            assert count == len(begun)
            assert count == most or size_taken == len(piece)
            piece, taken = piece[size_taken:], taken + size_taken
            counts.append(count)
    assert (taken, sum(counts)) == (len(data), len(whole))


def starts(frames: list[bytes]) -> list[int]:
    """Where each begins."""
    return [sum(len(one) for one in frames[:index]) for index in range(len(frames))]


def test_byte_after_byte_is_the_same():
    data = (frame(TEXT, b"x" * 200) + frame(PING)) * 3
    early = Early(len(data), 6)
    assert all(early.admits(bytes([one])) for one in data)
    assert early.admits(b"")
    assert not early.admits(b"x")


def test_a_length_no_frame_can_have_is_only_waited_for():
    early = Early(1000)
    assert early.admits(b"\x81\xff" + b"\xff" * 8)
    assert early.admits(frame(TEXT) * 100)
    assert not early.admits(b"x" * 500)


@pytest.mark.parametrize("kind", [0, TEXT, PING], ids=["pieces", "texts", "pings"])
def test_tiny_frames_are_too_many_long_before_they_are_too_much(kind: int):
    early = Early(1 << 20)
    assert early.admits(frame(kind) * MAX_FRAMES)
    assert not early.admits(frame(kind))
