"""The steer channel of a program: one message out at a time, taken when it is acknowledged, unread until then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from agentproc.context import ToolRefused
from agentproc.inbox import Message
from agentproc.runtimes.steering import SteerChannel
from tests.support.fake_turn import FakeTurn


class Program(FakeTurn):
    """What a program sees: the ids it was given, and the answers."""

    def __init__(self) -> None:
        super().__init__("hello")
        self.given: list[int] = []
        self.answers: list[str] = []
        self.reads = trio.Event()
        self.reads.set()
        self.channel = SteerChannel(self.context, self._write)
        for id in (1, 2, 3):
            self.inbox.put(Message(f"text {id}", {"kind": "external_user"}, id))

    async def _write(self, line: object) -> None:
        await self.reads.wait()
        assert isinstance(line, dict)
        told = line["steer"]
        assert told == {"id": told["id"], "message": f"text {told['id']}", "provenance": {"kind": "external_user"}}
        self.given.append(told["id"])

    async def answer(self, word: str) -> None:
        self.answers.append(word)


@asynccontextmanager
async def asking(program: Program, *wanted: bool) -> AsyncIterator[trio.Nursery]:
    """The program has written these steer lines, one after the other; the channel is closed at the end."""
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for one in wanted:
                ask(nursery, program, one)
                await wait_all_tasks_blocked()
            yield nursery
            program.channel.close()


def ask(nursery: trio.Nursery, program: Program, wanted: bool) -> None:
    word = "open" if wanted else "closed"
    nursery.start_soon(program.channel.set_open, wanted, partial(program.answer, word))


async def test_the_next_message_comes_when_the_last_is_acknowledged(autojump_clock):
    program = Program()
    async with asking(program, True):
        assert (program.given, program.inbox.unread()) == ([1], [1, 2, 3])
        assert program.channel.acknowledge(1)
        assert program.inbox.unread() == [2, 3]
        await wait_all_tasks_blocked()
        assert program.given == [1, 2]
    assert (program.inbox.unread(), program.steering) == ([2, 3], [True, False])


async def test_only_the_message_that_is_out_can_be_acknowledged_and_only_once(autojump_clock):
    program = Program()
    assert not program.channel.acknowledge(1)
    async with asking(program, True):
        assert not program.channel.acknowledge(2)
        assert program.channel.acknowledge(1)
        assert not program.channel.acknowledge(1)
    assert program.inbox.unread() == [2, 3]


async def test_a_closed_channel_hands_out_nothing_and_opens_again_where_it_was(autojump_clock):
    program = Program()
    async with asking(program, True, False) as nursery:
        assert program.steering == [True, False]
        assert program.channel.acknowledge(1)  # it was given before the channel was closed
        await wait_all_tasks_blocked()
        assert program.given == [1]
        ask(nursery, program, True)
        await wait_all_tasks_blocked()
        assert program.given == [1, 2]
    assert program.answers == ["open", "closed", "open"]
    assert program.inbox.unread() == [2, 3]


async def test_a_message_is_not_given_twice_for_opening_again_before_it_is_acknowledged(autojump_clock):
    program = Program()
    async with asking(program, True, False, True):
        assert program.given == [1]
        assert program.channel.acknowledge(1)
        await wait_all_tasks_blocked()
        assert program.given == [1, 2]


async def test_asking_for_what_is_so_already_is_answered_and_changes_nothing(autojump_clock):
    program = Program()
    async with asking(program, False, True, True):
        assert program.answers == ["closed", "open", "open"]
        assert (program.given, program.steering) == ([1], [True])


async def test_a_line_being_written_is_written_to_its_end_before_the_channel_closes(autojump_clock):
    program = Program()
    program.reads = trio.Event()
    async with asking(program, True, False):
        assert program.answers == ["open"]
        program.reads.set()
        await wait_all_tasks_blocked()
        assert (program.answers, program.given) == (["open", "closed"], [1])


async def test_a_refusal_of_the_gateway_is_the_programs_to_hear_and_it_may_ask_again(autojump_clock):
    class Refused(Program):
        async def set_steering(self, open: bool) -> None:
            await super().set_steering(open)
            if self.steering == [True]:
                raise ToolRefused("FORBIDDEN", "not its run")

    program = Refused()
    with pytest.raises(ToolRefused):
        await program.channel.set_open(True, partial(program.answer, "open"))
    async with asking(program, True):
        assert program.answers == ["open"]
