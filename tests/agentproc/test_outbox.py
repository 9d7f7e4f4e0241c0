"""The buffer of what a turn said: numbers without gaps, a bound, and a count of what did not fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentproc.outbox import BATCH_CHARS, BATCH_EVENTS, PIECE_CHARS, Outbox


def texts(outbox: Outbox) -> list[str]:
    batch = outbox.batch()
    return [event["data"].get("delta") or event["data"]["text"] for event in batch.events] if batch else []


def test_what_was_said_waits_until_it_is_acknowledged():
    outbox = Outbox()
    outbox.add("assistant", "a", 1.0)
    outbox.add("assistant", "b", 2.0)
    batch = outbox.batch()
    assert batch is not None
    assert batch.seq == 1
    assert batch.events[0] == {"stream": "assistant", "data": {"delta": "a"}, "ts": 1.0}
    assert outbox.batch() == batch  # after a reconnect it is sent again, under the same numbers
    outbox.acknowledge(1)
    assert (outbox.acked, texts(outbox)) == (1, ["b"])
    outbox.acknowledge(2)
    assert (outbox.acked, outbox.batch()) == (2, None)


def test_saying_nothing_is_no_event():
    outbox = Outbox()
    outbox.add("assistant", "", 1.0)
    assert len(outbox) == 0


def test_a_long_text_is_cut_into_pieces_that_fit_a_batch():
    outbox = Outbox()
    text = "x" * (PIECE_CHARS * 2 + 5)
    outbox.add("assistant", text, 1.0)
    assert [len(piece) for piece in texts(outbox)] == [PIECE_CHARS, PIECE_CHARS, 5]


def test_a_full_buffer_drops_the_newest_and_says_how_many():
    outbox = Outbox(max_events=2)
    for text in ("a", "b", "c", "d"):
        outbox.add("assistant", text, 1.0)
    assert texts(outbox) == ["a", "b"]
    outbox.acknowledge(1)
    outbox.say_what_was_dropped(2.0)
    batch = outbox.batch()
    assert batch is not None
    assert (batch.seq, batch.events[1]["stream"], batch.events[1]["data"]["dropped"]) == (2, "log", 2)
    assert outbox.dropped_total == 2


def test_the_bound_on_text_counts_characters():
    outbox = Outbox(max_chars=10)
    outbox.add("assistant", "12345678", 1.0)
    outbox.add("assistant", "123", 1.0)
    outbox.add("assistant", "12", 1.0)
    assert outbox.dropped_total == 1
    first, told, last = texts(outbox)
    assert (first, last) == ("12345678", "12")
    assert told.startswith("1 progress events were dropped")


@given(st.lists(st.one_of(st.text(max_size=40), st.integers(0, 30))))
def test_whatever_happens_numbers_have_no_gap_and_nothing_unacknowledged_is_lost(steps: list[str | int]):
    outbox, taken = Outbox(max_events=5, max_chars=100), 0
    kept: list[int] = []
    for step in steps:
        if isinstance(step, str):
            before = outbox.acked + len(outbox)
            outbox.add("assistant", step, 0.0)
            kept += range(before + 1, outbox.acked + len(outbox) + 1)
        else:
            taken = max(taken, min(step, outbox.acked + len(outbox)))
            outbox.acknowledge(step)
        assert outbox.acked == taken
        assert kept == list(range(1, len(kept) + 1))
        assert len(outbox) <= 5
        batch = outbox.batch()
        assert batch is None or (batch.seq == taken + 1 and 0 < len(batch.events) <= BATCH_EVENTS)


def test_a_batch_never_outgrows_a_frame():
    outbox = Outbox()
    for _ in range(10):
        outbox.add("assistant", "x" * PIECE_CHARS, 0.0)
    assert sum(map(len, texts(outbox))) <= BATCH_CHARS
