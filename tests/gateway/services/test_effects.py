"""Stories of what turns do outside, and what a later attempt makes of it."""

from __future__ import annotations

import pytest

from gateway.protocol.errors import Refusal
from gateway.services import effects
from tests.support.engine import open_box


async def test_what_an_attempt_has_done_the_next_is_told_and_does_not_do_again(box):
    await box.send("pay")
    worker, run = await box.take()
    assert await worker.note(run, "charge") == {"state": "intent", "result": None}
    assert await worker.note(run, "charge", "done", result={"receipt": 7}) == {
        "state": "done",
        "result": {"receipt": 7},
    }
    worker.die()
    worker, run = await box.take()
    assert await worker.note(run, "charge") == {"state": "done", "result": {"receipt": 7}}


async def test_an_open_unsafe_action_is_never_repeated_by_itself(box):
    await box.send("pay")
    worker, run = await box.take()
    await worker.note(run, "charge card")
    worker.die()
    ended = await box.services.runs.wait("pay", 60)
    assert (ended.state, ended.attempt) == ("interrupted", 1)
    assert ended.error == (
        'its worker was ended by signal 9; it had begun "charge card", which may have happened, so the turn is not '
        "repeated by itself; its message is parked: peergate mailbox show pay"
    )
    (shown,) = box.services.mailbox.list(name="pay")["messages"]
    assert [(one["name"], one["state"]) for one in shown["actions"]] == [("charge card", "unknown")]
    assert box.listener.of("notice")[0]["code"] == "MESSAGE_PARKED"


async def test_an_operator_may_have_it_done_again(box):
    await box.send("pay")
    worker, run = await box.take()
    await worker.note(run, "charge card")
    worker.die()
    await box.services.runs.wait("pay", 60)
    await box.services.mailbox.retry("pay")
    worker, run = await box.take()
    assert (await worker.note(run, "charge card"))["state"] == "intent"
    await worker.note(run, "charge card", "done")
    await worker.finish(run, "paid")
    assert box.state("pay") == "done"


@pytest.mark.parametrize("effect", ["idempotent", "pure"])
async def test_an_open_action_that_may_be_repeated_is_repeated(box, effect):
    await box.send("pay")
    worker, run = await box.take()
    await worker.note(run, "put file", effect=effect)
    worker.die()
    worker, run = await box.take()
    assert run.attempt == 2
    assert (await worker.note(run, "put file", effect=effect))["state"] == "intent"


async def test_an_unsafe_action_that_failed_fails_again_and_a_safe_one_is_tried_again(box):
    await box.send("pay")
    worker, run = await box.take()
    for name, effect in (("charge", "unsafe"), ("put file", "idempotent")):
        await worker.note(run, name, effect=effect)
        await worker.note(run, name, "failed", effect=effect, result="OSError: no")
    worker.die()
    worker, run = await box.take()
    assert await worker.note(run, "charge") == {"state": "failed", "result": "OSError: no"}
    assert (await worker.note(run, "put file", effect="idempotent"))["state"] == "intent"


async def test_a_beginning_that_is_told_twice_is_one(box):
    await box.send("pay")
    worker, run = await box.take()
    await worker.note(run, "charge")
    worker.connect()
    assert await worker.note(run, "charge") == {"state": "intent", "result": None}


async def test_how_an_action_ended_may_be_told_after_the_run_was_ended_but_none_begins(box):
    await box.send("pay")
    worker, run = await box.take()
    await worker.note(run, "charge")
    await box.services.runs.abort(run_id="pay")
    assert (await worker.note(run, "charge", "done", result=1))["state"] == "done"
    with pytest.raises(Refusal, match="is not this worker's"):
        await worker.note(run, "another")


async def test_the_journal_of_a_run_has_a_bound(box, monkeypatch):
    monkeypatch.setattr(effects, "MAX_PER_RUN", 2)
    await box.send("pay")
    worker, run = await box.take()
    await worker.note(run, "one")
    await worker.note(run, "two")
    with pytest.raises(Refusal, match="has noted 2 actions"):
        await worker.note(run, "three")
    assert (await worker.note(run, "two"))["state"] == "intent"
    with pytest.raises(Refusal, match="65542 bytes as JSON"):
        await worker.note(run, "two", "done", result="x" * 65540)
    with pytest.raises(Refusal, match="1 to 256 characters"):
        await worker.note(run, "")


async def test_a_gateway_that_dies_with_an_action_open_leaves_it_to_the_next_one(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        await box.send("pay")
        worker, run = await box.take()
        await worker.note(run, "charge")
    async with open_box(tmp_path, generation=2) as box:  # the worker died with it
        assert box.state("pay") == "interrupted"
        assert box.services.mailbox.list()["parked"] == 1
