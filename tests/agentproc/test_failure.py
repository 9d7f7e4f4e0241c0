"""What an agent's author is told: their error and their lines, and none of ours."""

from __future__ import annotations

import pytest
import trio

from agentproc.failure import cut, describe
from gateway.protocol.keys import parse_key


def broken(depth: int) -> None:
    if depth:
        broken(depth - 1)
    raise LookupError("nothing there")


def caught(depth: int = 0) -> BaseException:
    with pytest.raises(LookupError) as info:
        broken(depth)
    return info.value


def test_type_message_and_the_line_it_happened_on_come_first():
    first, second, *_ = describe(caught()).split("\n")
    assert first == "LookupError: nothing there"
    assert second.startswith("  in broken, ")
    assert second.endswith(': raise LookupError("nothing there")')


def test_only_the_last_frames_are_told():
    assert describe(caught(depth=30)).count("  in ") == 4


def test_our_own_frames_are_left_out():
    with pytest.raises(AttributeError) as info:
        parse_key(None)  # type: ignore[arg-type]
    assert "keys.py" not in describe(info.value)


async def test_an_error_out_of_a_nursery_is_told_as_itself():
    with pytest.raises(ExceptionGroup) as info:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, broken, 0)
    assert describe(info.value).startswith("LookupError: nothing there\n  in broken, ")


def test_several_errors_at_once_are_counted():
    group = ExceptionGroup("x", [ValueError(str(number)) for number in range(5)])
    told = describe(group).split("\n")
    assert told == ["5 errors at once:", "ValueError: 0", "ValueError: 1", "ValueError: 2", "and 2 more"]


def test_a_novel_is_cut():
    assert cut("x" * 50, 10) == "x" * 10 + "… (40 more characters)"
