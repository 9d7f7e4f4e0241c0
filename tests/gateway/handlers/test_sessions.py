"""What operators ask of sessions and runs, answered in the shapes the protocol promises."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.protocol.calls import ROWS
from gateway.protocol.errors import Refusal
from tests.support.calls import Caller
from tests.support.engine import open_box

MAIN = "agent:main:main"


@pytest.fixture
async def box(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        yield box


async def test_agent_answers_twice(box, nursery):
    caller = Caller(box.services)
    finals: list[dict[str, Any]] = []

    async def call():
        finals.append(await caller.ask("agent", message="hello", idempotencyKey="k1"))

    nursery.start_soon(call)
    worker, run = await box.take()
    assert caller.answers[0].items() >= {
        "runId": "k1", "sessionKey": MAIN, "agentId": "main", "status": "accepted",
    }.items()  # fmt: skip
    await worker.finish(run, "hi")
    await box.settle()
    assert finals[0].items() >= {"runId": "k1", "status": "ok", "summary": "completed"}.items()
    assert finals[0]["result"]["payloads"] == [{"text": "hi"}]
    again = await caller.ask("agent", message="hello", idempotencyKey="k1")  # sent again after a reconnect
    assert again["result"]["payloads"] == [{"text": "hi"}]


async def test_agent_tells_a_failed_run_as_an_error_with_its_details(box, nursery):
    caller = Caller(box.services)
    refused: list[Refusal] = []

    async def call():
        with pytest.raises(Refusal) as caught:
            await caller.ask("agent", message="hello", idempotencyKey="k1")
        refused.append(caught.value)

    nursery.start_soon(call)
    worker, run = await box.take()
    await worker.finish(run, status="failed", error="ValueError: no")
    await box.settle()
    shape = refused[0].shape
    assert (shape.code, shape.message) == ("UNAVAILABLE", "ValueError: no")
    assert shape.details is not None
    assert shape.details.items() >= {"status": "error", "summary": "failed"}.items()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"message": " "}, "message must not be empty"),
        ({"message": "x", "sessionKey": "nonsense"}, '"nonsense" is no session key'),
        ({"message": "x", "sessionKey": "agent:scout:main", "agentId": "main"}, "is not the agent of the session"),
        ({"message": "x", "agentId": "nobody"}, "names no configured agent"),
        ({"message": "x", "timeout": -1}, "must be 0"),
        ({"message": "x", "label": " "}, "label must not be empty"),
        ({"message": "x", "timeout": 2**63 - 1}, r"timeout is .* must be 0 \(none\) to 2592000 seconds"),
    ],
)
async def test_agent_refuses_what_makes_no_sense(box, params, said):
    with pytest.raises(Refusal, match=said):
        await Caller(box.services).ask("agent", idempotencyKey="k", **params)


async def test_the_same_key_for_another_session_is_refused(box, nursery):
    await box.services.runs.accept(_message("k1", "hello"))
    with pytest.raises(Refusal, match="was used for another message"):
        await Caller(box.services).ask("agent", message="hello", idempotencyKey="k1", agentId="scout")


def _message(run_id: str, text: str):
    from gateway.services.work import NewMessage

    return NewMessage(run_id, MAIN, text)


async def test_wait_says_how_a_run_stands_and_how_it_ended(box):
    await box.send("hello")
    caller = Caller(box.services)
    pending = await caller.ask("agent.wait", runId="hello", timeoutMs=0)
    assert (pending["status"], "endedAt" in pending) == ("pending", False)
    worker, run = await box.take()
    await worker.finish(run, "hi")
    ended = await caller.ask("agent.wait", runId="hello")
    assert (ended["status"], ended["state"], ended["reply"]) == ("ok", "done", "hi")
    assert ended["endedAt"] >= ended["startedAt"]


async def test_lists_show_who_spawned_whom_and_which_process_did_it(box):
    await box.send("hello")
    await box.spawn("kid", label="the kid", task_name="count", parent_run="hello")
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "42")
    caller = Caller(box.services)
    page = await caller.ask("sessions.list", spawnedBy=MAIN)
    assert [(one["key"], one["label"], one["spawnDepth"], one["status"]) for one in page["sessions"]] == [
        ("agent:main:subagent:kid", "the kid", 1, "done")
    ]
    assert (page["totalCount"], page["hasMore"]) == (1, False)
    assert len((await caller.ask("sessions.list", limit=1))["sessions"]) == 1
    assert (await caller.ask("sessions.list", search="KID"))["count"] == 1
    runs = (await caller.ask("runs.list", spawnedBy=MAIN))["runs"]
    assert [(one["runId"], one["workerPid"], one["workerStart"]) for one in runs] == [
        ("run-kid", child.born.pid, child.born.start)
    ]
    assert (await caller.ask("sessions.describe", key="agent:main:nothing"))["session"] is None


async def test_a_session_that_runs_again_tells_no_error_of_the_run_before(box):
    await box.send("one")
    worker, run = await box.take()
    await worker.finish(run, status="failed", error="it broke")
    caller = Caller(box.services)
    (row,) = (await caller.ask("sessions.list"))["sessions"]
    assert (row["status"], row["lastRunError"]) == ("failed", "it broke")
    await box.send("two")
    second = await worker.next()
    (row,) = (await caller.ask("sessions.list"))["sessions"]
    assert (row["status"], row["lastRunId"], "lastRunError" in row) == ("running", second.run_id, False)


async def test_history_pages_back_from_the_newest(box):
    await box.send("one")
    worker, run = await box.take()
    await worker.finish(run, "1")
    caller = Caller(box.services)
    newest = await caller.ask("chat.history", sessionKey="main", limit=1)
    assert [one["content"] for one in newest["messages"]] == [[{"type": "text", "text": "1"}]]
    assert (newest["hasMore"], newest["nextOffset"], newest["totalMessages"]) == (True, 1, 2)
    older = await caller.ask("chat.history", sessionKey=MAIN, limit=5, offset=1)
    assert [one["role"] for one in older["messages"]] == ["user"]
    assert (older["hasMore"], older["sessionKey"]) == (False, MAIN)


async def test_a_page_of_very_long_texts_is_a_short_page(box):
    worker = None
    for number in range(8):
        await box.send("x" * 250_000, run_id=f"long-{number}")
        worker = worker or await box.hire()
        await worker.finish(await worker.next())
    page = await Caller(box.services).ask("chat.history", sessionKey=MAIN)
    assert (len(page["messages"]), page["totalMessages"], page["nextOffset"]) == (6, 8, 6)


async def test_a_list_of_runs_shows_the_beginning_of_their_texts(box):
    await box.send("hello")
    worker, run = await box.take()
    await worker.finish(run, "y" * 5000)
    caller = Caller(box.services)
    assert len((await caller.ask("runs.list"))["runs"][0]["text"]) == 2000
    assert len((await caller.ask("agent.wait", runId="hello"))["reply"]) == 5000


async def test_abort_ends_a_run_and_says_which(box):
    await box.send("hello")
    caller = Caller(box.services)
    with pytest.raises(Refusal, match="belongs to agent:main:main"):
        await caller.ask("chat.abort", runId="hello", sessionKey="agent:scout:main")
    with pytest.raises(Refusal, match="needs sessionKey or runId"):
        await caller.ask("chat.abort")
    assert await caller.ask("chat.abort", sessionKey=MAIN) == {"ok": True, "aborted": True, "runIds": ["hello"]}
    assert await caller.ask("chat.abort", sessionKey=MAIN) == {"ok": True, "aborted": False, "runIds": []}


@pytest.mark.parametrize("offset", [-1, 2**63, 2**64 - 1])
async def test_an_offset_no_page_has_is_refused_by_the_row(offset):
    params = msgspec.msgpack.encode({"sessionKey": MAIN, "offset": offset})
    with pytest.raises(msgspec.ValidationError, match=r"\$\.offset"):
        ROWS["chat.history"].decoder.decode(params)


async def test_a_page_far_behind_the_last_message_is_empty(box):
    told = await Caller(box.services).ask("chat.history", sessionKey=MAIN, offset=2**53, limit=2**53)
    assert (told["messages"], told["hasMore"]) == ([], False)
