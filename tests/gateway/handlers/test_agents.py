"""Holding one agent alone, as an operator does it."""

from __future__ import annotations

import msgspec
import pytest

from gateway.protocol import limits
from gateway.protocol.errors import Refusal
from supervisor.messages import MAX_REASON_CHARS
from tests.support.calls import Caller
from tests.support.engine import open_box


@pytest.fixture
async def box(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        yield box


async def test_the_agents_are_listed_with_the_default_marked(box):
    answer = await Caller(box.services).ask("agents.list")
    assert answer["defaultId"] == "main"
    assert [(one["id"], one.get("isDefault", False)) for one in answer["agents"]] == [("main", True), ("scout", False)]


async def test_the_list_has_what_openclaws_clients_look_for(box):
    answer = await Caller(box.services).ask("agents.list")
    assert (answer["mainKey"], answer["scope"]) == ("main", "per-sender")


async def test_an_agent_is_called_what_the_configuration_says_or_by_its_id(tmp_path, mock_clock):
    tree = {"agents": {"entries": {"main": {"name": "Ada"}, "scout": {}}}}
    async with open_box(tmp_path, tree=tree) as box:
        caller = Caller(box.services)
        assert await caller.ask("agent.identity.get") == {"agentId": "main", "name": "Ada", "avatarStatus": "none"}
        assert (await caller.ask("agent.identity.get", sessionKey="agent:scout:main"))["name"] == "scout"
        with pytest.raises(Refusal, match="is not the agent of the session"):
            await caller.ask("agent.identity.get", sessionKey="agent:scout:main", agentId="main")


async def test_the_models_are_those_that_agents_use(tmp_path, mock_clock):
    entries = {
        "main": {"model": {"primary": "lab/large", "fallbacks": ["lab/small", "plain"]}},
        "scout": {"runtime": {"type": "model", "model": "other/one"}},
    }
    async with open_box(tmp_path, tree={"agents": {"defaults": {"model": "lab/large"}, "entries": entries}}) as box:
        caller = Caller(box.services)
        assert [(one["provider"], one["id"]) for one in (await caller.ask("models.list", view="all"))["models"]] == [
            ("lab", "large"), ("lab", "small"), ("", "plain"), ("other", "one"),
        ]  # fmt: skip
        assert len((await caller.ask("models.list", provider="lab"))["models"]) == 2
        assert [one["id"] for one in (await caller.ask("models.list", agentId="scout"))["models"]] == ["large", "one"]
    async with open_box(tmp_path) as box:
        assert await Caller(box.services).ask("models.list") == {"models": []}


async def test_every_agent_names_what_answers_for_it(tmp_path, mock_clock):
    """OpenClaw's Control UI lets nobody write to one that does not."""
    entries = {
        "main": {}, "shell": {"runtime": {"type": "command", "argv": ["/bin/cat"]}},
        "ada": {"model": {"primary": "lab/large", "fallbacks": ["lab/small"]}},
        "bob": {"runtime": {"type": "model", "model": "other/one"}},
    }  # fmt: skip
    async with open_box(tmp_path, tree={"agents": {"entries": entries}}) as box:
        rows = (await Caller(box.services).ask("agents.list"))["agents"]
    assert {one["id"]: one["model"] for one in rows} == {
        "main": {"primary": "peergate/python"}, "shell": {"primary": "peergate/command"},
        "ada": {"primary": "lab/large", "fallbacks": ["lab/small"]}, "bob": {"primary": "other/one"},
    }  # fmt: skip


async def test_an_agent_that_does_not_exist_is_named(box):
    with pytest.raises(Refusal, match='unknown agent id "nobody"; configured: main, scout'):
        await Caller(box.services).ask("agents.stop", agentId="nobody")


async def test_a_quarantined_agent_works_again_when_it_is_released(box):
    caller = Caller(box.services)
    await box.send("hello")
    worker, _ = await box.take()
    await caller.ask("agents.quarantine", agentId="main", reason="it loops")
    assert box.supervisor.held == [("main", True)]
    assert [spawn for spawn, _ in box.supervisor.stopped] == [worker.born.spawn]
    worker.die()
    await box.settle()
    assert (await caller.ask("agent.wait", runId="hello", timeoutMs=0))["waits"] == (
        "agent main is in quarantine (it loops); to release it: peergate agents release main"
    )
    listed = (await caller.ask("agents.list"))["agents"][0]
    assert listed["quarantined"]
    await caller.ask("agents.release", agentId="main")
    assert box.supervisor.held[-1] == ("main", False)
    _, run = await box.take()
    assert (run.message, run.attempt) == ("hello", 2)


async def test_a_stopped_agent_goes_on_with_what_waits_when_it_is_restarted(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        caller = Caller(box.services)
        await box.send("one")
        worker, _ = await box.take()
        await box.send("two")
        await caller.ask("agents.stop", agentId="main")
        worker.die(code=0)
        told = await caller.ask("agent.wait", runId="two", timeoutMs=0)
        assert told["waits"] == "agent main is stopped until its next message; or: peergate agents restart main"
        await caller.ask("agents.release", agentId="main")
        assert (await caller.ask("agents.list"))["agents"][0]["stopped"], "it was not in quarantine"
        assert (await caller.ask("agents.restart", agentId="main"))["workers"] == 0
        _, run = await box.take()
        assert run.message == "two"
    async with open_box(tmp_path, generation=2) as box:
        assert "stopped" not in (await Caller(box.services).ask("agents.list"))["agents"][0]


async def test_a_reason_has_a_bound(box):
    assert limits.MAX_REASON_CHARS == MAX_REASON_CHARS
    with pytest.raises(msgspec.ValidationError, match="reason"):
        await Caller(box.services).ask("agents.quarantine", agentId="main", reason="x" * 501)


async def test_stopping_ends_the_turn_and_restarting_repeats_it(box):
    caller = Caller(box.services)
    await box.send("one")
    worker, _ = await box.take()
    assert (await caller.ask("agents.restart", agentId="main"))["workers"] == 1
    worker.die(signal=15)
    again, run = await box.take()
    assert (run.run_id, run.attempt) == ("one", 2)
    assert (await caller.ask("agents.stop", agentId="main"))["runIds"] == ["one"]
    assert (await box.services.runs.wait("one", 0)).state == "aborted"
    assert box.supervisor.stopped[-1][0] == again.born.spawn
    assert (await caller.ask("agents.list"))["agents"][0]["stopped"]


async def test_an_agent_that_is_held_says_why_and_what_ends_it(box):
    caller = Caller(box.services)
    await caller.ask("agents.quarantine", agentId="main", reason="it loops")
    await caller.ask("agents.stop", agentId="scout")

    async def held(method: str) -> dict[str, str]:
        return {one["id"]: one.get("held") for one in (await caller.ask(method))["agents"]}

    told = await held("agents.list")
    assert told == {
        "main": "agent main is in quarantine (it loops); to release it: peergate agents release main",
        "scout": "agent scout is stopped until its next message; or: peergate agents restart scout",
    }
    assert await held("health") == told
    await caller.ask("agents.release", agentId="main")
    await caller.ask("agents.restart", agentId="scout")
    assert await held("agents.list") == {"main": None, "scout": None}
