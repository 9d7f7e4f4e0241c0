"""Messages to other sessions with the tool `sessions_send`: who is meant, what is refused, what is answered."""

from __future__ import annotations

import pytest

from gateway.protocol.errors import Refusal

MAIN = "agent:main:main"


async def test_a_label_several_sessions_share_is_refused_with_all_of_them(box, hands):
    await box.spawn("one", label="report")
    await box.spawn("two", label="report")
    result = await hands.use("sessions_send", label="report", message="hi", timeoutSeconds=0)
    assert result["status"] == "error"
    assert "agent:main:subagent:one" in result["error"]
    assert "agent:main:subagent:two" in result["error"]


async def test_a_label_one_session_has_finds_it(box, hands):
    await box.spawn("one", label="report")
    result = await hands.use("sessions_send", label="report", message="hi", timeoutSeconds=0)
    assert (result["status"], result["sessionKey"]) == ("accepted", "agent:main:subagent:one")


async def test_an_empty_label_is_refused(hands):
    result = await hands.use("sessions_send", label="", message="hi")
    assert (result["status"], result["error"]) == ("error", "label must not be empty; leave it out if there is none")


async def test_an_unknown_agent_is_refused_with_the_key_that_would_make_it_known(hands):
    result = await hands.use("sessions_send", agentId="ghost", message="hi")
    assert result["status"] == "error"
    assert result["error"].startswith('unknown agentId "ghost" (configured: main, scout)')
    assert "agents.entries" in result["error"]


async def test_a_key_used_for_another_message_is_named_as_its_caller_wrote_it(hands):
    await hands.use("sessions_send", sessionKey=MAIN, message="one", timeoutSeconds=0, key="order-7")
    with pytest.raises(Refusal, match='the idempotency key "order-7" was used for another message'):
        await hands.use("sessions_send", sessionKey=MAIN, message="two", timeoutSeconds=0, key="order-7")


@pytest.mark.parametrize("seconds", [-1, 2_592_001])
async def test_a_wait_out_of_bounds_is_refused_with_the_parameter_and_the_bound(hands, seconds):
    result = await hands.use("sessions_send", sessionKey=MAIN, message="x", timeoutSeconds=seconds)
    assert result["status"] == "error"
    assert result["error"] == f"timeoutSeconds is {seconds}, it must be 0 (do not wait) to 2592000"


async def test_watching_is_named_as_ignored(hands):
    result = await hands.use("sessions_send", sessionKey=MAIN, message="x", timeoutSeconds=0, watch=True)
    assert (result["status"], result["ignored"]) == ("accepted", ["watch"])


@pytest.mark.parametrize("suffix", ["thread", "topic"])
async def test_a_thread_is_refused_with_the_key_of_its_channel(hands, suffix):
    channel = "agent:main:slack:channel:c1"
    result = await hands.use("sessions_send", sessionKey=f"{channel}:{suffix}:9", message="x")
    assert result["status"] == "error"
    assert result["error"].endswith(f"use the parent channel key {channel}")


async def test_a_key_another_tool_was_called_with_is_refused_for_a_message(hands):
    await hands.use("sessions_spawn", task="x", key="taken")
    with pytest.raises(Refusal, match="was used with other arguments"):
        await hands.use("sessions_send", sessionKey=MAIN, message="x", timeoutSeconds=0, key="taken")
