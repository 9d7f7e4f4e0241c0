"""Waiting for something by its name: told to all who wait, and forgotten with the last of them."""

from __future__ import annotations

import trio
import trio.testing

from gateway.services.arrivals import Arrivals


async def test_everybody_who_expects_a_name_hears_of_it_and_nobody_else(nursery, autojump_clock):
    arrivals, heard = Arrivals(), []

    async def wait(name: str, who: str) -> None:
        with arrivals.expecting(name) as event:
            await event.wait()
            heard.append(who)

    for name, who in (("a", "first"), ("a", "second"), ("b", "third")):
        nursery.start_soon(wait, name, who)
    await trio.testing.wait_all_tasks_blocked()
    arrivals.tell("a")
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(heard) == ["first", "second"]
    assert len(arrivals) == 1
    nursery.cancel_scope.cancel()


async def test_a_name_is_forgotten_with_the_last_who_waits_for_it():
    arrivals = Arrivals()
    with arrivals.expecting("a") as first:
        with arrivals.expecting("a"):
            assert len(arrivals) == 1
        assert len(arrivals) == 1
    assert len(arrivals) == 0
    arrivals.tell("a")
    assert not first.is_set()


async def test_who_comes_after_it_was_told_waits_for_the_next_time():
    arrivals = Arrivals()
    with arrivals.expecting("a") as first:
        arrivals.tell("a")
        with arrivals.expecting("a") as second:
            assert (first.is_set(), second.is_set()) == (True, False)
        assert len(arrivals) == 0


async def test_an_earlier_one_that_leaves_does_not_take_a_later_one_with_it():
    arrivals = Arrivals()
    earlier = arrivals.expecting("a")
    earlier.__enter__()
    arrivals.tell("a")
    with arrivals.expecting("a") as later:
        earlier.__exit__(None, None, None)
        arrivals.tell("a")
        assert later.is_set()
