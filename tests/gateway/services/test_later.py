"""What comes later comes to whoever asked, in a task or without one."""

from __future__ import annotations

import pytest
import trio

from gateway.services.later import Later, Tell


async def test_a_task_waits_for_what_is_told(nursery, autojump_clock):
    async def tell_soon(tell: Tell) -> None:
        await trio.sleep(5)
        tell("there")

    assert await Later(lambda tell: nursery.start_soon(tell_soon, tell)) == "there"
    assert trio.current_time() > 4


async def test_what_is_told_at_once_is_heard_and_an_exception_is_raised():
    assert await Later(lambda tell: tell(None)) is None
    with pytest.raises(ValueError, match="no"):
        await Later(lambda tell: tell(ValueError("no")))


def test_nothing_is_begun_before_somebody_asks():
    begun: list[Tell] = []
    later = Later(begun.append)
    assert begun == []
    told: list[object] = []
    later.begin(told.append)
    begun[0]("now")
    assert told == ["now"]
