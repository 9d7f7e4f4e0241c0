"""`agent` sent again: how a key that was used before is answered, and a session that is begun anew first."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.protocol.errors import Refusal
from gateway.protocol.limits import MAX_MESSAGE_CHARS
from tests.support.calls import Caller
from tests.support.engine import finished_turn, open_box

MAIN = "agent:main:main"


@pytest.fixture
async def box(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        yield box


async def test_a_key_that_is_sent_again_says_in_flight_and_then_the_result(box, nursery):
    first, second, third = (Caller(box.services) for _ in range(3))
    finals: list[dict[str, Any]] = []

    async def call(caller: Caller) -> None:
        finals.append(await caller.ask("agent", message="hello", idempotencyKey="k1"))

    nursery.start_soon(call, first)
    worker, run = await box.take()
    nursery.start_soon(call, second)
    await box.settle()
    assert [one.answers[0]["status"] for one in (first, second)] == ["accepted", "in_flight"]
    await worker.finish(run, "hi")
    await box.settle()
    await call(third)
    assert third.answers == []
    assert [one["status"] for one in finals] == ["ok"] * 3


async def test_a_message_that_begins_with_new_begins_the_session_anew(box, nursery):
    worker = await finished_turn(box, "one", "1")
    caller = Caller(box.services)
    nursery.start_soon(lambda: caller.ask("agent", message="/new two", idempotencyKey="k2"))
    await worker.finish(await worker.next(), "2")
    await box.settle()
    assert box.texts() == [("user", "two"), ("assistant", "2")]


async def test_what_would_be_refused_after_a_reset_resets_nothing(box):
    await finished_turn(box, "one", "1")
    caller = Caller(box.services)
    box.services.agents.quarantined("main", True, "it loops")
    with pytest.raises(Refusal, match="peergate agents release main"):
        await caller.ask("agent", message="/new two", idempotencyKey="k2")
    box.services.agents.quarantined("main", False, "")
    with pytest.raises(Refusal, match="characters, at most"):
        await caller.ask("agent", message="/new " + "x" * (MAX_MESSAGE_CHARS + 1), idempotencyKey="k2")
    with pytest.raises(Refusal, match="timeout is -1"):
        await caller.ask("agent", message="/new two", idempotencyKey="k2", timeout=-1)
    with pytest.raises(Refusal, match="was used for another message"):
        await caller.ask("agent", message="/new two", idempotencyKey="one")
    assert box.texts() == [("user", "one"), ("assistant", "1")]
    await caller.ask("agent", message="/new", idempotencyKey="k3")
    assert box.texts() == []


async def test_a_bare_reset_answers_without_a_run_and_happens_once(box):
    worker = await finished_turn(box, "one", "1")
    caller = Caller(box.services)
    told = await caller.ask("agent", message="/reset", idempotencyKey="k2")
    assert (told["status"], told["result"]["payloads"]) == ("ok", [{"text": "The session begins anew."}])
    assert box.texts() == []
    await box.send("two")
    await worker.finish(await worker.next(), "2")
    assert (await caller.ask("agent", message="/reset", idempotencyKey="k2"))["status"] == "ok"
    assert box.texts() == [("user", "two"), ("assistant", "2")]


async def test_a_session_is_named_by_its_id_too(box, nursery):
    worker = await finished_turn(box, "one", "1")
    caller = Caller(box.services)
    session_id = (await caller.ask("sessions.describe", key=MAIN))["session"]["sessionId"]
    nursery.start_soon(lambda: caller.ask("agent", message="two", idempotencyKey="k2", sessionId=session_id))
    assert (await worker.next()).message == "two"
    with pytest.raises(Refusal, match="no session with the sessionId"):
        await caller.ask("agent", message="two", idempotencyKey="k3", sessionId="nobody")


async def test_runs_are_listed_by_agent_and_those_that_go_on_by_themselves(box):
    await finished_turn(box, "one", "1")
    await box.send("two", run_id="two")
    await box.send("for the scout", "agent:scout:main", run_id="scouting")
    for number in range(3):  # younger, and over
        await box.send(f"over {number}", "agent:scout:x", run_id=f"over-{number}")
        await box.services.runs.abort(run_id=f"over-{number}")
    await box.settle()

    async def listed(**params: Any) -> list[str]:
        return [one["runId"] for one in (await Caller(box.services).ask("runs.list", **params))["runs"]]

    assert await listed(agentId="Scout") == ["over-2", "over-1", "over-0", "scouting"]
    assert await listed(unfinished=True, limit=2) == ["scouting", "two"]
    assert await listed(unfinished=True, agentId="main") == ["two"]
    assert await listed(agentId="main", state="done") == ["one"]


async def test_a_list_of_runs_says_what_each_waits_for(box):
    slots = box.services.settings.agents.defaults.max_concurrent
    for number in range(slots):
        await box.send("work", f"agent:main:s{number}", run_id=f"work-{number}")
        await box.take(f"agent:main:s{number}")
    await box.send("more", "agent:main:s0", run_id="more")
    await box.send("elsewhere", "agent:main:x", run_id="elsewhere")
    await box.send("for the scout", "agent:scout:main", run_id="scouting")
    box.services.agents.quarantined("scout", True, "it loops")
    told = (await Caller(box.services).ask("runs.list", unfinished=True))["runs"]
    assert [(one["runId"], one.get("waits")) for one in told] == [
        *((f"work-{number}", None) for number in reversed(range(slots))),  # who works comes first
        ("scouting", "agent scout is in quarantine (it loops); to release it: peergate agents release scout"),
        ("elsewhere", f"the lane main is full ({slots} of {slots}, agents.defaults.maxConcurrent)"),
        ("more", "its session is busy with the run work-0"),
    ]
