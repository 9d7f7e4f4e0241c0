"""How long a call of an agent may take to be on disk, and what it hears when that is over."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from gateway.protocol.errors import Refusal, unavailable

CALLS = [
    ("sessions_spawn", {"task": "x"}),
    ("sessions_send", {"agentId": "scout", "message": "x", "timeoutSeconds": 0}),
]


@pytest.mark.parametrize("trouble", [None, "the disk that holds the state directory is full"])
@pytest.mark.parametrize(("tool", "args"), CALLS, ids=[tool for tool, _ in CALLS])
async def test_what_is_not_on_disk_in_time_is_refused_with_the_key_and_the_cause(
    box, hands, mock_clock, nursery, trouble, tool, args
):
    gate, refused = threading.Event(), []

    async def ask():
        with pytest.raises(Refusal) as caught:
            await hands.use(tool, key="k", **args)
        refused.append(caught.value.shape)

    box.services.database.post(lambda db: gate.wait(20))
    nursery.start_soon(ask)
    try:
        await trio.testing.wait_all_tasks_blocked()
        if trouble:
            box.services.database.trouble = unavailable(trouble)
        mock_clock.jump(10.1)
        await trio.testing.wait_all_tasks_blocked()
    finally:
        box.services.database.trouble = None
        gate.set()
    (shape,) = refused
    assert (shape.code, shape.retryable) == ("UNAVAILABLE", True)
    assert "agents.defaults.subagents.admissionTimeoutMs" in shape.message
    assert (trouble or "the database is slow") in shape.message
    assert (await hands.use(tool, key="k", **args))["status"] == "accepted"
    assert sum(box.services.runs.counts().values()) == 1
