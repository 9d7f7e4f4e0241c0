"""A conversation as OpenClaw's clients hold it: said once, followed by events, read from a cursor on."""

from __future__ import annotations

import pytest

from gateway.protocol.errors import Refusal
from tests.support.calls import Caller
from tests.support.engine import finished_turn, open_box

MAIN = "agent:main:main"


@pytest.fixture
async def box(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        yield box


async def test_a_message_is_answered_at_once_and_its_key_says_how_the_run_stands(box):
    caller = Caller(box.services)
    said = {"sessionKey": "main", "message": "hello", "idempotencyKey": "k1"}
    assert await caller.ask("chat.send", **said) == {"runId": "k1", "status": "started"}
    assert await caller.ask("chat.send", **said) == {"runId": "k1", "status": "in_flight"}
    worker, run = await box.take()
    await worker.finish(run, "hi")
    assert await caller.ask("chat.send", **said) == {"runId": "k1", "status": "ok"}
    with pytest.raises(Refusal, match="was used for another message"):
        await caller.ask("chat.send", **{**said, "message": "something else"})
    assert box.texts() == [("user", "hello"), ("assistant", "hi")]


@pytest.mark.parametrize(
    ("mode", "steered", "interrupted"),
    [(None, True, False), ("steer", True, False), ("followup", False, False), ("collect", False, False),
     ("interrupt", False, True)],
)  # fmt: skip
async def test_a_message_during_a_run_goes_where_its_mode_says(box, mode, steered, interrupted):
    await box.send("hello")
    worker, run = await box.take()
    await worker.steer(run)
    more = {"queueMode": mode} if mode else {}
    told = await Caller(box.services).ask("chat.send", sessionKey=MAIN, message="x", idempotencyKey="k", **more)
    assert told == {"runId": "k", "status": "started", **({"interruptedActiveRun": True} if interrupted else {})}
    assert ("worker.steer" in [name for name, _ in worker.link.events]) == steered
    assert box.state("hello") == ("aborted" if interrupted else "running")


@pytest.mark.parametrize("words", ["/stop", " /STOP\n"])
async def test_a_message_of_only_stop_aborts(box, words):
    await box.send("hello")
    told = await Caller(box.services).ask("chat.send", sessionKey=MAIN, message=words, idempotencyKey="k")
    assert told == {"ok": True, "aborted": True, "runIds": ["hello"]}
    assert box.services.runs.snapshot("k") is None
    verbatim = {"sessionKey": MAIN, "message": words, "idempotencyKey": "k2", "suppressCommandInterpretation": True}
    assert (await Caller(box.services).ask("chat.send", **verbatim))["status"] == "started"


async def test_an_attachment_is_refused_rather_than_lost(box):
    picture = [{"mimeType": "image/png", "content": "aGk="}]
    for method, params in (
        ("chat.send", {"sessionKey": MAIN}), ("agent", {}), ("sessions.send", {"key": MAIN}),
    ):  # fmt: skip
        with pytest.raises(Refusal, match="attachments are not served"):
            await Caller(box.services).ask(method, message="x", idempotencyKey="k", attachments=picture, **params)
    assert (await Caller(box.services).ask("chat.send", sessionKey=MAIN, message="x", idempotencyKey="k",
                                           attachments=[]))["status"] == "started"  # fmt: skip


async def test_a_client_that_was_away_reads_what_was_said_since(box):
    worker = await finished_turn(box, "one", "1")
    caller = Caller(box.services)
    first = await caller.ask("chat.history", sessionKey=MAIN)
    assert (len(first["messages"]), first["sessionInfo"]["key"], first["thinkingLevel"]) == (2, MAIN, "off")
    nothing = await caller.ask("chat.history", sessionKey=MAIN, cursor=first["deltaCursor"])
    assert (nothing["kind"], nothing["messages"], nothing["deltaCursor"]) == ("delta", [], first["deltaCursor"])
    await box.send("two")
    await worker.finish(await worker.next(), "2")
    since = await caller.ask("chat.history", sessionKey=MAIN, cursor=first["deltaCursor"])
    assert [one["content"][0]["text"] for one in since["messages"]] == ["two", "2"]
    page = await caller.ask("chat.history", sessionKey=MAIN, cursor=first["deltaCursor"], limit=1)
    rest = await caller.ask("chat.history", sessionKey=MAIN, cursor=page["deltaCursor"])
    assert [one["content"][0]["text"] for one in page["messages"] + rest["messages"]] == ["two", "2"]
    await caller.ask("sessions.reset", key=MAIN)
    assert (await caller.ask("chat.history", sessionKey=MAIN, cursor=first["deltaCursor"]))["kind"] == "reset"


async def test_a_page_knows_again_what_it_said_by_the_key_it_was_sent_with(box):
    caller = Caller(box.services)
    await caller.ask("chat.send", sessionKey=MAIN, message="hello", idempotencyKey="k1")
    worker, run = await box.take()
    await worker.finish(run, "hi")
    said, answer = [one["__openclaw"] for one in (await caller.ask("chat.startup", sessionKey=MAIN))["messages"]]
    assert said == {"id": "k1:1", "seq": 1, "runId": "k1", "idempotencyKey": "k1"}
    assert answer == {"id": "k1:2", "seq": 2, "runId": "k1"}
    told = [event["message"]["__openclaw"] for event in box.listener.of("session.message")]
    assert told == [said, answer]


@pytest.mark.parametrize("cursor", ["", "nonsense", ":", "x:5", "x:٣"])
async def test_a_cursor_that_is_none_means_read_it_all(box, cursor):
    await finished_turn(box, "one", "1")
    assert (await Caller(box.services).ask("chat.history", sessionKey=MAIN, cursor=cursor))["kind"] == "reset"
    session_id = (await Caller(box.services).ask("chat.history", sessionKey=MAIN))["sessionId"]
    told = await Caller(box.services).ask("chat.history", sessionKey=MAIN, cursor=f"{session_id}:{'9' * 400}")
    assert (told["kind"], told["messages"]) == ("delta", [])


async def test_texts_are_cut_where_the_client_says(box):
    await finished_turn(box, "a long question", "a long answer")
    page = await Caller(box.services).ask("chat.history", sessionKey=MAIN, maxChars=6)
    assert [one["content"][0]["text"] for one in page["messages"]] == ["a long", "a long"]
