"""The mailbox and the resetting of a session over the wire."""

from __future__ import annotations

import pytest

from gateway.protocol.errors import Refusal
from tests.support.calls import Caller
from tests.support.engine import finished_turn, open_box


@pytest.fixture
async def box(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        yield box


async def test_an_operator_sees_a_parked_message_tries_it_again_and_drops_it(box):
    await box.send("poison", sender="somebody")
    operator = Caller(box.services)
    for round_of_three in (1, 2):
        for _ in range(3):
            worker, _ = await box.take()
            worker.die()
        await box.settle()
        told = await operator.ask("mailbox.list", state="dead", sessionKey=" AGENT:main:main ")
        assert told["parked"] == 1
        (row,) = told["messages"]
        assert (row["attempts"], row["sender"], row["runState"]) == (3 * round_of_three, "somebody", "interrupted")
        if round_of_three == 1:
            assert (await operator.ask("mailbox.retry", id=str(row["id"])))["runState"] == "queued"
    (whole,) = (await operator.ask("mailbox.list", id="poison"))["messages"]
    assert whole["provenance"] == {"kind": "external_user"}
    assert (await operator.ask("mailbox.drop", id="poison"))["state"] == "dropped"
    assert await operator.ask("mailbox.list") == {"messages": [], "parked": 0}


async def test_a_session_is_begun_anew(box):
    await finished_turn(box, "hello", "hi")
    operator = Caller(box.services)
    told = await operator.ask("sessions.reset", key="main", reason="new")
    assert (told["ok"], told["key"]) == (True, "agent:main:main")
    assert (await operator.ask("chat.history", sessionKey="main"))["messages"] == []
    with pytest.raises(Refusal, match="there is no session agent:main:x"):
        await operator.ask("sessions.reset", key="agent:main:x")
