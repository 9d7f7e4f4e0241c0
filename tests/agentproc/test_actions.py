"""Actions outside as a turn sees them: noted before, noted after, not done again; and the warning before the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import trio

from agentproc.context import ActionFailed, Context, ToolRefused
from agentproc.inbox import Inbox
from agentproc.journal import Journal, canonical_value
from gateway.protocol.errors import invalid
from tests.agentproc.test_worker import open_worker
from tests.support.fake_turn import FakeTurn


class Book:
    """The gateway's side of the journal."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def note(self, params: dict[str, Any]) -> dict[str, Any]:
        row = self.rows.setdefault(params["call"], {"state": "intent", "result": None})
        if params.get("state", "intent") != "intent":
            row |= {"state": params["state"], "result": params["result"]}
        return row


async def test_an_action_is_done_once_and_its_result_is_given_to_the_next_attempt(tmp_path: Path):
    done, book = list[str](), Book()

    async def charge() -> dict[str, Any]:
        done.append("charged")
        return {"receipt": (1, 2)}

    async def turn(ctx: Context) -> str:
        receipt = await ctx.once("charge", charge)
        return f"{receipt} {await ctx.once('charge', charge)}"

    async with open_worker(tmp_path, turn) as (fake, _):
        fake.answers["worker.effect"] = book.note
        for attempt in (1, 2):
            await fake.hand_out({"runId": "r1", "attempt": attempt, "message": "x"})
            finish = await fake.wait_for("worker.finish", attempt)
            assert finish["text"] == "{'receipt': [1, 2]} {'receipt': [1, 2]}"
        assert done == ["charged", "charged"]  # two actions of one name, each once
        notes = fake.asked("worker.effect")
        assert [note.get("state", "intent") for note in notes] == ["intent", "done"] * 2 + ["intent"] * 2
        assert {(note["runId"], note["effect"]) for note in notes} == {("r1", "unsafe")}


async def test_an_action_that_failed_raises_and_is_not_tried_again(tmp_path: Path):
    tries, book = list[int](), Book()

    async def charge() -> None:
        tries.append(1)
        raise OSError("no answer from the bank")

    async def turn(ctx: Context) -> str:
        try:
            await ctx.once("charge", charge)
        except (OSError, ActionFailed) as error:
            return f"{type(error).__name__}: {error}"
        return "charged"

    async with open_worker(tmp_path, turn) as (fake, _):
        fake.answers["worker.effect"] = book.note
        await fake.hand_out({"runId": "r1", "message": "x"})
        assert (await fake.wait_for("worker.finish"))["text"] == "OSError: no answer from the bank"
        await fake.hand_out({"runId": "r1", "attempt": 2, "message": "x"})
        text = (await fake.wait_for("worker.finish", 2))["text"]
        assert text == "ActionFailed: OSError: no answer from the bank"
        assert tries == [1]


async def test_nothing_is_done_when_the_gateway_takes_no_note(tmp_path: Path):
    done = []

    def refuse(params: dict[str, Any]) -> Any:
        raise invalid("the run has noted too much")

    async def act() -> None:
        done.append(1)

    async def turn(ctx: Context) -> str:
        with pytest.raises(ToolRefused, match="noted too much"):
            await ctx.once("act", act)
        return "fine"

    async with open_worker(tmp_path, turn) as (fake, _):
        fake.answers["worker.effect"] = refuse
        await fake.hand_out({"runId": "r1", "message": "x"})
        assert (await fake.wait_for("worker.finish"))["text"] == "fine"
        assert done == []


async def test_how_an_action_ended_is_told_though_the_turn_is_aborted_meanwhile(tmp_path: Path):
    book = Book()

    async def turn(ctx: Context) -> None:
        async def act() -> str:
            await fake.post("worker.abort", {"runId": "r1", "status": "aborted", "reason": "enough"})
            with trio.CancelScope(shield=True):
                await trio.sleep(0.05)  # it cannot be stopped half-way
            return "sent"

        await ctx.once("act", act)

    async with open_worker(tmp_path, turn) as (fake, _):
        fake.answers["worker.effect"] = book.note
        await fake.hand_out({"runId": "r1", "message": "x"})
        assert (await fake.wait_for("worker.finish"))["status"] == "aborted"
        assert [row["state"] for row in book.rows.values()] == ["done"]


async def test_a_turn_hears_that_its_time_is_short(tmp_path: Path):
    async def turn(ctx: Context) -> str:
        await ctx.wait_time_is_short()
        return f"{ctx.seconds_left is not None and ctx.seconds_left > 1}"

    async with open_worker(tmp_path, turn) as (fake, _):
        now = int(time.time() * 1000)
        await fake.hand_out({"runId": "r1", "message": "x", "warnMs": now + 30, "deadlineMs": now + 60_000})
        assert (await fake.wait_for("worker.finish"))["text"] == "True"


async def test_what_cannot_be_kept_fails_its_action():
    async def odd() -> Any:
        return Inbox()

    async def huge() -> str:
        return "x" * 70_000

    turn = FakeTurn("hello")
    with pytest.raises(TypeError):
        await turn.context.once("odd", odd)
    with pytest.raises(ValueError, match="70002 bytes of JSON, at most 65536"):
        await turn.context.once("huge", huge)
    assert [(name, state) for name, state, _ in turn.settled] == [("odd", "failed"), ("huge", "failed")]


def test_actions_of_one_name_are_told_apart_by_their_order():
    journal = Journal("run:1")
    first, second, other = journal.action("a"), journal.action("a"), journal.action("b")
    assert len({first, second, other}) == 3
    again = Journal("run:1")
    assert (again.action("b"), again.action("a")) == (other, first)
    value: Any = {"b": (1,)}
    assert canonical_value(value, 100) == {"b": [1]}
