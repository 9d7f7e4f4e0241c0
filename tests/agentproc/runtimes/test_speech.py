"""What a program prints, as it is said: at a pace, in whole characters, and never more than its reply would be."""

from __future__ import annotations

import trio
from hypothesis import given
from hypothesis import strategies as st

from agentproc.runtimes.speech import PACE_SECONDS, Speech, reply_of
from tests.support.fake_turn import FakeTurn

PIECES = st.lists(st.sampled_from([b"\n", b"a", b"\xc3", b"\xa9", b"\xf0\x9f", b"\x98\x80", b"\xff", b"\r\n", b" "]))


async def test_what_comes_at_once_is_said_together_and_what_comes_later_later(nursery, autojump_clock):
    fake = FakeTurn("x")
    speech = Speech(fake.context)
    nursery.start_soon(speech.serve)
    for number in range(10_000):
        speech.hear(b"%d " % number)
    assert fake.said == []  # a program that is done by now has said nothing but its reply
    await trio.sleep(PACE_SECONDS * 1.5)
    assert fake.said == ["".join(f"{number} " for number in range(10_000))]
    speech.hear(b"more")
    await trio.sleep(PACE_SECONDS * 100)
    assert fake.said[1:] == ["more"]


async def test_a_character_is_said_when_it_is_whole_and_a_newline_when_something_follows(nursery, autojump_clock):
    fake = FakeTurn("x")
    speech = Speech(fake.context)
    nursery.start_soon(speech.serve)
    for printed in (b"\n\n", b"one\n", b"\n", b"caf\xc3", b"\xa9\n", b"\xe2\x82"):
        speech.hear(printed)
        await trio.sleep(PACE_SECONDS * 2)
    assert fake.said == ["one", "\n\ncaf", "é"]
    await speech.flush()
    assert fake.said[3:] == ["\n\\xe2\\x82"]


async def test_the_rest_is_said_in_a_turn_that_is_cut_short():
    fake = FakeTurn("x")
    speech = Speech(fake.context)
    speech.hear(b"so far\n")
    with trio.CancelScope() as turn:
        turn.cancel()
        await speech.flush()
    assert fake.said == ["so far"]


@given(PIECES)
def test_all_that_is_said_is_the_reply(pieces: list[bytes]):
    async def said() -> str:
        fake = FakeTurn("x")
        speech = Speech(fake.context)
        for piece in pieces:
            speech.hear(piece)
            await speech.say()
            assert reply_of(b"".join(pieces)).startswith("".join(fake.said).split("\\x")[0])
        await speech.flush()
        return "".join(fake.said)

    assert trio.run(said) == reply_of(b"".join(pieces))
