"""The catalogue of tools, and what those who follow a run see of the tools it uses."""

from __future__ import annotations

import pytest

from gateway.protocol.calls.tools import BY_NAME
from gateway.protocol.errors import Refusal
from tests.support.calls import Caller, worker_principal
from tests.support.engine import open_box


@pytest.fixture
async def box(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        yield box


async def test_the_catalogue_has_every_tool_with_what_it_is_for(box):
    told = await Caller(box.services).ask("tools.catalog")
    (group,) = told["groups"]
    assert {tool["id"] for tool in group["tools"]} == set(BY_NAME)
    assert all(tool["description"].endswith(".") for tool in group["tools"])
    assert told["agentId"] == "main"
    with pytest.raises(Refusal, match="unknown agent id"):
        await Caller(box.services).ask("tools.catalog", agentId="nobody")


async def test_a_run_shows_the_session_tools_it_uses_and_how_that_ended(box):
    await box.send("hello")
    worker, run = await box.take()
    caller = Caller(box.services, worker_principal(worker.born))
    await caller.ask("tools.invoke", name="sessions_list", args={"limit": 5}, idempotencyKey="t1")
    assert (await caller.ask("tools.invoke", name="session_status", args={"sessionKey": "?"}))["status"] == "error"
    shown = [one["data"] for one in box.listener.of("session.tool")]
    assert shown[:2] == [
        {"phase": "start", "name": "sessions_list", "toolCallId": "t1", "args": {"limit": 5}},
        {"phase": "result", "name": "sessions_list", "toolCallId": "t1", "isError": False},
    ]
    assert [(one["phase"], one.get("isError")) for one in shown[2:]] == [("start", None), ("result", True)]
    assert all(one["runId"] == run.run_id for one in box.listener.of("session.tool"))


async def test_an_operators_tools_belong_to_no_run(box):
    await box.send("hello")
    await box.take()
    await Caller(box.services).ask("tools.invoke", name="sessions_list", sessionKey="agent:main:main")
    assert box.listener.of("session.tool") == []
