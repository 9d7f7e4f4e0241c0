"""Answers by key: the same question gets the same answer, another question under the same key is refused."""

from __future__ import annotations

import pytest

from gateway.protocol.errors import Refusal
from gateway.services.housekeeping import ANSWERS_KEPT_MS, House
from gateway.services.work import NewMessage, Record


async def test_an_answer_is_kept_with_its_effect(box):
    answer = {"status": "accepted", "runId": "r1"}
    record = Record("agent:main:main", "key", "digest", answer)
    await box.services.runs.accept(NewMessage("r1", "agent:main:main", "hello", record=record))
    assert box.services.idempotency.recall("agent:main:main", "key", "digest") == answer
    assert box.services.idempotency.recall("agent:scout:main", "key", "digest") is None
    with pytest.raises(Refusal, match="used with other arguments"):
        box.services.idempotency.recall("agent:main:main", "key", "another")


async def test_the_first_answer_stays(box):
    await box.services.idempotency.record("s", "k", "d", {"n": 1})
    await box.services.idempotency.record("s", "k", "d", {"n": 2})
    assert box.services.idempotency.recall("s", "k", "d") == {"n": 1}


async def test_a_taken_result_is_recorded_with_its_taking(box):
    await box.send("hello")
    await box.take()
    await box.spawn("kid", parent_run="hello")
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "42")

    def record(found):
        return Record("agent:main:main", "wait-1", "d", {"results": [one.text for one in found]})

    await box.services.runs.take_results("agent:main:main", ["run-kid"], 0, record)
    assert box.services.idempotency.recall("agent:main:main", "wait-1", "d") == {"results": ["42"]}


async def test_answers_are_forgotten_after_a_day(box, mock_clock):
    await box.services.idempotency.record("s", "k", "d", {"n": 1})
    mock_clock.jump(ANSWERS_KEPT_MS / 1000 + 1)
    await House(box.services.engine).clean()
    assert box.services.idempotency.recall("s", "k", "d") is None


@pytest.mark.parametrize("key", ["announce:run-kid", "reply:ask", "cron:job:0:1"])
async def test_a_key_that_is_the_id_of_a_run_of_our_own_is_refused(box, key):
    with pytest.raises(Refusal, match="must not begin with"):
        await box.send("mine", run_id=key)
