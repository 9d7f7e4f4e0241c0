"""Starting sub-agents with the tool `sessions_spawn`: what is refused, and in which words."""

from __future__ import annotations

import pytest
import trio

from gateway.protocol.errors import Refusal
from tests.support.engine import settings_from


@pytest.mark.parametrize("seconds", [-1, 2_592_001, 2**63 - 1])
async def test_a_time_limit_out_of_bounds_is_refused_with_the_parameter_and_the_bound(box, hands, seconds):
    result = await hands.use("sessions_spawn", task="x", runTimeoutSeconds=seconds)
    assert result["status"] == "error"
    assert "runTimeoutSeconds" in result["error"]
    assert "2592000" in result["error"]
    assert box.services.runs.counts() == {}


@pytest.mark.parametrize(
    ("args", "said"),
    [({"label": ""}, "label"), ({"label": "a\nb"}, "label"), ({"taskName": "abc\n"}, "taskName")],
)
async def test_a_name_with_a_line_break_or_none_at_all_is_refused(hands, args, said):
    result = await hands.use("sessions_spawn", task="x", **args)
    assert result["status"] == "error"
    assert result["error"].startswith(said)


async def test_what_the_runtime_cannot_do_is_said_in_the_answer(hands):
    result = await hands.use("sessions_spawn", task="x", model="a/b", thinking="high", lightContext=True)
    assert (result["status"], result["modelApplied"]) == ("accepted", False)
    assert result["ignored"] == ["model", "thinking", "lightContext"]
    assert "no model" in result["note"]
    plain = await hands.use("sessions_spawn", task="x")
    assert not {"modelApplied", "ignored"} & plain.keys()


async def test_a_key_used_at_once_for_two_different_children_makes_one_and_refuses_the_other(box, hands):
    outcomes: list[str] = []

    async def spawn(label: str) -> None:
        try:
            outcomes.append((await hands.use("sessions_spawn", key="k", task="x", label=label))["status"])
        except Refusal as refusal:
            outcomes.append(refusal.shape.message)

    async with trio.open_nursery() as nursery:
        for label in ("one", "two"):
            nursery.start_soon(spawn, label)
    accepted, refused = sorted(outcomes)
    assert (accepted, refused) == ("accepted", 'the idempotency key "k" was used for another message; use a new one')
    assert len(box.services.runs.children("agent:main:main")) == 1


async def test_an_agent_that_is_configured_no_more_is_told_so(box, hands_of):
    await box.send("hello")
    worker, _ = await box.take()
    box.services.reload(settings_from({"agents": {"entries": {"scout": {}}}}))
    result = await hands_of(worker).use("sessions_spawn", task="x", agentId="scout")
    assert result["error"] == "the agent main is not configured any more (agents.entries)"
