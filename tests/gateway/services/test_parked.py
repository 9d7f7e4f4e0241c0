"""Stories of messages that are parked: seen, tried again, dropped."""

from __future__ import annotations

from typing import Any

import pytest

from agentproc.inbox import Inbox, Message
from agentproc.results import finished_in
from gateway.protocol.errors import Refusal
from gateway.protocol.keys import parse_key
from tests.support.calls import Caller, worker_principal
from tests.support.engine import Worker, finished_turn, open_box

MAIN = "agent:main:main"
KID = "agent:main:subagent:kid"


async def poison(box: Any, session: str = MAIN) -> None:
    """Three workers die of the run that waits."""
    for _ in range(3):
        worker, _ = await box.take(session)
        worker.die()
    await box.settle()


async def test_a_message_three_workers_died_of_is_parked_and_the_operator_is_told(box):
    await box.send("poison", sender="operator")
    await poison(box)
    (row,) = box.services.mailbox.list(state="dead")["messages"]
    assert (row["runId"], row["state"], row["attempts"], row["sender"]) == ("poison", "dead", 3, "operator")
    assert row["error"].endswith("that was attempt 3 of 3; its message is parked: peergate mailbox show poison")
    (notice,) = box.listener.of("notice")
    assert (notice["code"], notice["fix"], notice["runId"]) == (
        "MESSAGE_PARKED",
        "peergate mailbox show poison",
        "poison",
    )
    assert box.services.mailbox.list(name=str(row["id"]))["messages"][0]["runId"] == "poison"


async def test_a_parked_message_holds_nobody_up_and_those_behind_it_keep_their_order(box):
    await box.send("poison", sender="a")
    for text in ("second", "third"):
        await box.send(text, sender="a")
    await poison(box)
    worker, run = await box.take()
    assert run.message == "second"
    await worker.finish(run, "2")
    assert (await worker.next()).message == "third"


async def test_a_retry_goes_before_younger_messages_has_three_attempts_more_and_is_in_the_transcript_once(box):
    await box.send("poison")
    await poison(box)
    await box.send("younger")
    worker, run = await box.take()
    await box.send("youngest")
    assert (await box.services.mailbox.retry("poison"))["state"] == "new"
    assert box.state("poison") == "queued"
    assert (await box.services.mailbox.retry("poison"))["attempts"] == 3  # asked again, it changes nothing
    await worker.finish(run, "y")
    again = await worker.next()
    assert (again.message, again.attempt, again.run_id) == ("poison", 4, "poison")
    worker.die()
    for attempt in (5, 6):
        worker, again = await box.take()
        assert again.attempt == attempt
        if attempt < 6:
            worker.die()
    await worker.finish(again, "healed")
    assert (await box.services.runs.wait("poison", 60)).text == "healed"
    assert [text for role, text in box.texts() if role == "user"] == ["poison", "younger"]
    assert box.services.mailbox.list()["parked"] == 0


async def test_six_attempts_and_it_is_parked_again(box):
    await box.send("poison")
    await poison(box)
    await box.services.mailbox.retry("poison")
    await poison(box)
    assert "attempt 6 of 6" in (await box.services.runs.wait("poison", 60)).error
    assert box.services.mailbox.list()["parked"] == 1


async def test_a_parent_that_heard_of_the_failure_hears_of_the_success(box):
    await finished_turn(box, "hello", "hi")
    parent = Worker(box, box.supervisor.born[0])
    await box.spawn("kid")
    await poison(box, KID)
    told = await parent.next()
    assert told.provenance["status"] == "error"
    with pytest.raises(Refusal, match="just being told"):
        await box.services.mailbox.retry("run-kid")
    await parent.finish(told, "oh dear")
    await box.services.mailbox.retry("run-kid")
    child, run = await box.take(KID)
    await child.finish(run, "42")
    told = await parent.next()
    assert (told.provenance["status"], told.provenance["result"]) == ("ok", "42")


async def test_a_turn_that_was_told_of_the_failure_is_given_the_success_among_its_messages(box):
    await box.send("hello")
    parent, turn = await box.take()
    await parent.steer(turn)
    await box.spawn("kid", parent_run="hello")
    await poison(box, KID)
    agent, inbox = Caller(box.services, worker_principal(parent.born)), Inbox()

    async def hear() -> None:
        _, payload = await parent.link.wait_event()
        for mail in payload["mails"]:
            inbox.put(Message(mail["message"], mail["provenance"], mail["id"]))

    await hear()
    asked = {"action": "wait", "taskIds": ["run-kid"], "timeoutSeconds": 0}
    inbox.withdraw(finished_in("subagents", await agent.ask("tools.invoke", name="subagents", args=asked)))
    assert inbox.unread() == []  # the answer says what the announcement says
    await box.services.mailbox.retry("run-kid")
    child, run = await box.take(KID)
    await child.finish(run, "42")
    await hear()
    told = inbox.get_nowait()
    assert told is not None
    assert told.announce is not None
    assert (told.announce.status, told.announce.result) == ("ok", "42")


async def test_a_failure_nobody_heard_of_is_taken_back(box):
    await box.send("hello")
    parent, turn = await box.take()
    await box.spawn("kid", parent_run="hello")
    await poison(box, KID)
    assert box.state("announce:run-kid") == "queued"
    await box.services.mailbox.retry("run-kid")
    child, run = await box.take(KID)
    await child.finish(run, "42")
    await parent.finish(turn, "hi")
    told = await parent.next()
    assert (told.run_id, told.provenance["status"]) == ("announce:run-kid", "ok")
    await parent.finish(told, "good")
    assert box.services.runs.counts() == {}


async def test_a_dropped_message_is_gone_for_good(box):
    await box.send("poison")
    await poison(box)
    assert (await box.services.mailbox.drop("poison"))["state"] == "dropped"
    assert box.services.mailbox.list()["messages"] == []
    assert box.state("poison") == "interrupted"
    assert (await box.services.mailbox.drop("poison"))["state"] == "dropped"  # the answer was lost, it is asked again
    with pytest.raises(Refusal, match="is not parked: its run poison is interrupted"):
        await box.services.mailbox.retry("poison")
    with pytest.raises(Refusal, match="there is no message"):
        await box.services.mailbox.drop("999")


async def test_a_session_to_be_removed_stays_while_its_message_is_parked(box):
    await box.send("hello")
    await box.take()
    await box.spawn("kid", cleanup="delete")
    await poison(box, KID)
    assert box.services.sessions.row(KID) is not None
    await box.services.mailbox.drop("run-kid")
    assert box.services.sessions.row(KID) is None


async def test_what_is_parked_is_parked_for_the_next_gateway_too(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        await box.send("poison")
        await poison(box)
    async with open_box(tmp_path, generation=2) as box:
        await box.services.mailbox.retry("poison")
        worker, run = await box.take()
        await worker.finish(run, "healed")
        assert box.state("poison") == "done"


async def test_messages_under_way_are_listed_with_what_becomes_of_them(box):
    await box.send("one")
    await box.take()
    await box.send("two")
    rows = box.services.mailbox.list()["messages"]
    assert [(row["text"], row["runState"]) for row in rows] == [("one", "running"), ("two", "queued")]
    assert [row["text"] for row in box.services.mailbox.list(after=rows[0]["id"], limit=1)["messages"]] == ["two"]
    assert box.services.mailbox.list(session="agent:scout:main")["messages"] == []


async def test_a_turn_that_is_tried_again_hears_of_the_children_that_ended_with_it(box):
    await box.send("hello")
    worker, _ = await box.take()
    await box.spawn("kid", parent_run="hello")
    worker.die()
    for _ in range(2):
        worker, _ = await box.take()
        worker.die()
    await box.settle()
    assert (box.state("hello"), box.state("run-kid")) == ("interrupted", "aborted")
    await box.services.mailbox.retry("hello")
    worker, run = await box.take()
    assert run.run_id == "hello"
    await worker.steer(run)
    _, payload = await worker.link.wait_event()
    told = payload["mails"][0]["provenance"]
    assert (told["childRunId"], told["status"], told["error"]) == ("run-kid", "error", "its parent run interrupted")


@pytest.mark.parametrize("gone", ["reset", "deleted"])
async def test_a_message_that_is_tried_again_stands_in_a_session_that_was_begun_anew(box, gone):
    key = MAIN if gone == "reset" else "agent:main:other"
    await box.send("poison", key)
    await poison(box, key)
    if gone == "reset":
        await box.services.runs.reset(key)
    else:
        await box.services.edits.delete(parse_key(key))
        await box.services.edits.create(parse_key(key))
    await box.services.mailbox.retry("poison")
    worker, _ = await box.take(key)
    worker.die()
    worker, run = await box.take(key)
    await worker.finish(run, "fine")
    assert box.texts(key) == [("user", "poison"), ("assistant", "fine")]


async def test_a_failure_that_a_turn_was_given_stands_in_the_transcript_also_when_it_is_tried_again(box):
    await box.send("hello")
    parent, turn = await box.take()
    await parent.steer(turn)
    await box.spawn("kid", parent_run="hello")
    await poison(box, KID)
    await box.services.mailbox.retry("run-kid")
    await parent.steer(turn, open=False)
    await parent.finish(turn, "oh dear", unread=[])
    said = [text.splitlines()[0] for _, text in box.texts()]
    assert said == ["hello", f"Sub-agent {KID} was interrupted.", "oh dear"]
