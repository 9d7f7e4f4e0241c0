"""Two agents that go on talking: how often, and what ends it."""

from __future__ import annotations

import pytest

from gateway.services.pingpong import next_message
from tests.support.engine import open_box

MAIN, SCOUT = "agent:main:main", "agent:scout:main"


def provenance(turn: int, most: int = 2):
    return {"kind": "inter_session", "sourceSessionKey": MAIN, "pingPong": {"turn": turn, "most": most}}


@pytest.mark.parametrize(
    ("reply", "told", "goes_on"),
    [
        ("pong", provenance(0), True),
        ("pong", provenance(1), True),
        ("pong", provenance(2), False),
        ("REPLY_SKIP", provenance(0), False),
        (" NO_REPLY\n", provenance(0), False),
        ("", provenance(0), False),
        (None, provenance(0), False),
        ("pong", {"kind": "inter_session", "sourceSessionKey": MAIN}, False),
        ("pong", {"kind": "external_user", "pingPong": {"turn": 0, "most": 2}}, False),
        ("pong", {**provenance(0), "pingPong": {"turn": "0", "most": 2}}, False),
    ],
)
def test_when_a_conversation_goes_on(reply, told, goes_on):
    following = next_message("r", SCOUT, reply, told)
    assert (following is not None) == goes_on
    if following:
        assert (following.run_id, following.session) == ("reply:r", MAIN)
        assert following.provenance["pingPong"]["turn"] == told["pingPong"]["turn"] + 1
        assert following.provenance["sourceSessionKey"] == SCOUT


async def test_replies_go_to_and_fro_as_often_as_they_may_across_a_restart(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        await box.send("hello", MAIN)
        main, run = await box.take(MAIN)
        await main.finish(run, "hi")
        await box.send("ping", SCOUT, provenance=provenance(0), kind="inter_session", sender=MAIN)
        scout, run = await box.take(SCOUT)
        await scout.finish(run, "pong")
    async with open_box(tmp_path, live=[main, scout], generation=2) as box:
        main.connect()
        run = await main.next()
        assert (run.run_id, run.message, run.provenance["sourceSessionKey"]) == ("reply:ping", "pong", SCOUT)
        await main.finish(run, "ping 2")
        scout.connect()
        run = await scout.next()
        assert (run.run_id, run.message, run.provenance["pingPong"]["turn"]) == ("reply:reply:ping", "ping 2", 2)
        await scout.finish(run, "pong 2")
        assert box.services.runs.counts() == {}


async def test_a_reply_to_a_session_that_is_gone_ends_it(box):
    await box.send("ping", SCOUT, provenance=provenance(0), kind="inter_session", sender=MAIN)
    scout, run = await box.take(SCOUT)
    await scout.finish(run, "pong")
    assert box.services.runs.counts() == {}
