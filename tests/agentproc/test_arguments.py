"""Arguments of the wrong type are told in the agent's own line, before anything leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agentproc.context import Context
from agentproc.failure import describe
from tests.support.fake_turn import FakeTurn


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda ctx: ctx.say(123), "ctx.say takes text, not int"),
        (lambda ctx: ctx.say(None), "ctx.say takes text, not NoneType"),
        (lambda ctx: ctx.spawn({"task": "x"}), "ctx.spawn: task takes text, not dict"),
        (lambda ctx: ctx.spawn("x", agent_id=1), "ctx.spawn: agent_id takes text, not int"),
        (lambda ctx: ctx.spawn("x", label=b"l"), "ctx.spawn: label takes text, not bytes"),
        (lambda ctx: ctx.spawn("x", task_name=1), "ctx.spawn: task_name takes text, not int"),
        (lambda ctx: ctx.spawn("x", timeout=1.5), "ctx.spawn: timeout takes whole seconds, not float"),
        (lambda ctx: ctx.send(7, "x"), "ctx.send: target takes text, not int"),
        (lambda ctx: ctx.send("scout", ["x"]), "ctx.send: message takes text, not list"),
        (lambda ctx: ctx.send("scout", "x", timeout="30"), "ctx.send: timeout takes whole seconds, not str"),
    ],
)
async def test_a_wrong_type_is_told_in_the_agents_own_line(call: Callable[[Any], Awaitable[Any]], told: str):
    turn = FakeTurn("x")
    context: Context = turn.context
    with pytest.raises(TypeError) as info:
        await call(context)
    first, where = describe(info.value).splitlines()[:2]
    assert first == f"TypeError: {told}"
    assert __file__ in where
    assert (turn.said, turn.calls) == ([], [])


async def test_what_may_be_left_out_may_be_none():
    turn = FakeTurn("x", {"main": lambda ctx: ctx.say("here")})
    await turn.context.spawn("x", agent_id=None, label=None, task_name=None, timeout=None)
    await turn.context.say("")
    assert turn.said == [""]
