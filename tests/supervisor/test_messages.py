"""Messages as values: made whole or not at all, never changed, the same after their travel."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.messages import (
    MAX_MESSAGE_BYTES,
    MAX_REASON_CHARS,
    REASONS_PER_MESSAGE,
    BadMessage,
    Beat,
    Drain,
    Exited,
    Fork,
    Held,
    Live,
    Message,
    Reload,
    Retire,
    TicketPlease,
    decode,
    encode,
)

ALL = sorted(Message.__subclasses__(), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", ALL)
def test_every_message_is_the_same_after_its_travel(cls):
    message = cls(*(f"value of {name}" for name in cls.fields))
    again = decode(encode(message))
    assert again == message
    assert type(again) is cls
    assert vars(again) == {name: f"value of {name}" for name in cls.fields}


def test_a_field_may_be_given_by_its_place_by_its_name_or_by_its_default():
    message = Held(7, "remote", cookie="c")
    assert (message.id, message.kind, message.cookie, message.uid, message.agent) == (7, "remote", "c", -1, "")
    assert message == Held(id=7, kind="remote", uid=-1, cookie="c") == decode(encode(message))
    message.pids.append(1)
    assert Held(7, "remote").pids == []


@pytest.mark.parametrize(
    ("values", "named"),
    [((1,), {}), ((), {"id": 1, "supervisor": 2}), ((1, "worker", 2, 3), {}), ((1, "worker"), {"child": 2})],
    ids=["one only", "one left out", "too many", "another"],
)
def test_a_message_with_too_few_or_other_fields_is_not_made(values: tuple[Any, ...], named: dict[str, Any]):
    with pytest.raises(TypeError, match=r"Fork has \('id', 'kind', 'supervisor'\)"):
        Fork(*values, **named)


def test_a_message_does_not_change():
    beat = Beat(rss=1)
    with pytest.raises(AttributeError):
        beat.rss = 2  # type: ignore[misc]
    assert beat.rss == 1


def test_two_kinds_with_the_same_words_are_not_equal():
    assert Drain("stop") == Drain("stop") != Retire("stop")
    assert Reload() == Reload() != TicketPlease()


def test_a_message_can_be_matched_by_the_order_of_its_fields():
    match Exited("s1", "main", "agent:main:main", code=None, signal=9):
        case Exited(spawn, _, _, None, signal):
            assert (spawn, signal) == ("s1", 9)
        case _:
            pytest.fail("it was not matched")


def test_what_would_not_fit_into_a_datagram_is_not_sent():
    with pytest.raises(BadMessage, match="Drain of 16"):
        encode(Drain("x" * MAX_MESSAGE_BYTES))


def test_a_piece_of_reasons_fits_whatever_workers_said_last():
    names = [f"agent-{number:02}".ljust(64, "x") for number in range(REASONS_PER_MESSAGE)]
    worst = dict.fromkeys(names, "\U0001f600" * MAX_REASON_CHARS)
    live = Live([], worst)
    assert decode(encode(live)) == live
