"""What a run says reaches listeners at a pace, in order, and ends exactly once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.protocol.calls.worker import WorkerEmit
from gateway.protocol.keys import SessionKey
from gateway.services import chat
from tests.support.engine import Box, Worker

MAIN = "agent:main:main"


def told(box: Box) -> list[tuple[str, Any]]:
    """What a client draws: text as it comes, tools, and the end."""
    drawn: list[tuple[str, Any]] = []
    for event, payload in box.listener.events:
        if event == "chat":
            drawn.append((payload["state"], payload.get("deltaText")))
        elif event == "agent" and payload["stream"] == "tool":
            drawn.append(("tool", payload["data"]["phase"]))
    return drawn


async def pass_time(box: Box, clock: Any, seconds: float = 0.08) -> None:
    clock.jump(seconds)
    await box.settle()


async def begin(box: Box, text: str = "hello") -> tuple[Worker, Any]:
    await box.send(text)
    return await box.take()


async def test_the_first_words_come_at_once_and_the_next_together(box, mock_clock):
    worker, run = await begin(box)
    await worker.say(run, "a", "b", "c")
    assert told(box) == [("delta", "a")]
    await pass_time(box, mock_clock)
    assert told(box) == [("delta", "a"), ("delta", "bc")]
    last = box.listener.of("chat")[-1]
    assert last["message"]["content"] == [{"type": "text", "text": "abc"}]
    assert {name: last[name] for name in ("runId", "sessionKey", "agentId", "state")} == {
        "runId": "hello", "sessionKey": MAIN, "agentId": "main", "state": "delta",
    }  # fmt: skip
    assert box.listener.of("agent")[-1]["data"] == {"delta": "bc", "text": "abc"}
    assert last["seq"] == box.listener.of("agent")[-1]["seq"]


async def test_what_was_said_is_told_before_a_tool_begins_and_before_the_end(box):
    worker, run = await begin(box)
    await worker.say(run, "a", "b")
    await worker.note(run, "pay")
    await worker.note(run, "pay", "done", result=1)
    await worker.say(run, "c", seq=3)
    await worker.finish(run, "abc")
    assert told(box) == [
        ("delta", "a"), ("delta", "b"), ("tool", "start"), ("tool", "result"), ("delta", "c"), ("final", None),
    ]  # fmt: skip
    final = box.listener.of("chat")[-1]
    assert (final["stopReason"], final["message"]["content"][0]["text"]) == ("stop", "abc")
    tool = box.listener.of("session.tool")
    assert [one["data"] for one in tool] == [
        {"phase": "start", "name": "pay", "toolCallId": "pay", "args": {}},
        {"phase": "result", "name": "pay", "toolCallId": "pay", "isError": False},
    ]


async def test_the_events_of_a_run_are_numbered_without_a_gap(box, mock_clock):
    worker, run = await begin(box)
    await worker.say(run, "a", "b")
    await pass_time(box, mock_clock)
    await worker.note(run, "pay")
    await worker.finish(run, "ab")
    assert [one["seq"] for one in box.listener.of("agent")] == [1, 2, 3, 4, 5]


async def test_another_attempt_replaces_what_the_first_one_said(box):
    worker, run = await begin(box)
    await worker.say(run, "half a sen")
    worker.die()
    again, run = await box.take()
    await again.say(run, "a whole sentence")
    delta = box.listener.of("chat")[-1]
    assert (delta["deltaText"], delta["replace"], delta["message"]["content"][0]["text"]) == (
        "a whole sentence", True, "a whole sentence",
    )  # fmt: skip
    await again.say(run, "!", seq=2)
    await again.finish(run, "a whole sentence!")
    assert "replace" not in box.listener.of("chat")[-2]


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        ("done", "hi", {"state": "final", "stopReason": "stop"}),
        ("done", "NO_REPLY", {"state": "final", "stopReason": "stop"}),
        ("failed", None, {"state": "error", "errorKind": "unknown", "errorMessage": "why", "stopReason": "failed"}),
        ("aborted", "ha", {"state": "aborted", "errorMessage": "why", "stopReason": "aborted"}),
        ("timed_out", None, {"state": "error", "errorKind": "timeout", "stopReason": "timed_out"}),
    ],
)
async def test_a_run_ends_in_the_word_that_clients_know(box, status, said, expected):
    worker, run = await begin(box)
    await worker.finish(run, said, status, error=None if status == "done" else "why")
    (ending,) = box.listener.of("chat")
    assert ending.items() >= expected.items()
    assert ("message" in ending) == (said not in (None, "NO_REPLY"))


async def test_an_aborted_run_says_so_once(box):
    worker, run = await begin(box)
    await worker.say(run, "half")
    await box.services.runs.abort(run_id="hello", reason="enough")
    await box.settle()
    assert [state for state, _ in told(box)] == ["delta", "aborted"]
    assert box.listener.of("chat")[-1]["message"]["content"][0]["text"] == "half"


async def test_a_message_given_to_a_turn_in_progress_ends_without_words_of_its_own(box):
    worker, run = await begin(box)
    await worker.steer(run)
    await box.send("also this", steer=True)
    await worker.steer(run, open=False)
    await worker.finish(run, "both")
    ends = {one["runId"]: one for one in box.listener.of("chat")}
    assert (ends["also this"]["state"], "message" in ends["also this"]) == ("final", False)
    assert ends["hello"]["message"]["content"][0]["text"] == "both"


async def test_of_a_very_long_text_only_what_is_new_is_told(box, mock_clock, monkeypatch):
    monkeypatch.setattr(chat, "MAX_SNAPSHOT_CHARS", 10)
    worker, run = await begin(box)
    for seq in range(1, 5):
        await worker.say(run, "12345", seq=seq)
        await pass_time(box, mock_clock)
    assert ["message" in one for one in box.listener.of("chat")] == [True, True, False, False]
    assert "".join(text for _, text in told(box)) == "12345" * 4


async def test_other_streams_are_told_as_they_are_and_in_their_place(box):
    worker, run = await begin(box)
    events = [
        {"stream": "assistant", "data": {"delta": "a"}}, {"stream": "assistant", "data": {"delta": "b"}},
        {"stream": "log", "data": {"text": "x"}}, {"stream": "assistant", "data": "no text"},
    ]  # fmt: skip
    report = {"runId": run.run_id, "attempt": run.attempt, "seq": 1, "events": events}
    await box.services.leases.emit(worker.seat, msgspec.convert(report, WorkerEmit))
    streams = [(one["stream"], one["data"]) for one in box.listener.of("agent")][1:]
    assert streams == [
        ("assistant", {"delta": "a", "text": "a"}), ("assistant", {"delta": "b", "text": "ab"}),
        ("log", {"text": "x"}), ("assistant", "no text"),
    ]  # fmt: skip


async def test_changes_of_a_session_within_a_moment_are_one_event(box, mock_clock):
    worker, run = await begin(box)
    await worker.finish(run, "hi")
    await pass_time(box, mock_clock, 0.1)
    (created,) = box.listener.of("sessions.changed")
    assert (created["reason"], created["session"]["lastRunId"]) == ("create", "hello")
    await box.send("again")
    await box.services.runs.abort(session_key=MAIN)
    await pass_time(box, mock_clock, 0.1)
    assert box.listener.of("sessions.changed")[-1]["session"]["status"] == "killed"
    await box.send("x", "agent:main:gone")
    await box.services.runs.abort(session_key="agent:main:gone")
    assert await box.services.edits.delete(SessionKey("main", "gone"))
    await pass_time(box, mock_clock, 0.1)
    gone = box.listener.of("sessions.changed")[-1]
    assert (gone["sessionKey"], gone["reason"], "session" in gone) == ("agent:main:gone", "delete", False)
