"""What a worker hands over is told to everybody and kept: what nobody could read again is refused, and ends nobody."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio

from gateway.auth.principal import Kind, Principal
from gateway.handlers import HANDLERS
from gateway.protocol import scopes
from gateway.protocol.errors import ErrorShape
from gateway.protocol.frames import JSON, MSGPACK, Request
from gateway.protocol.limits import MAX_DEPTH
from gateway.router import Router
from gateway.services.plain import plain
from tests.support.anything import MAIN, Anybody
from tests.support.calls import worker_principal
from tests.support.engine import Box, Worker

ODD = [
    msgspec.msgpack.Ext(5, b"x"), msgspec.msgpack.Ext(-1, b"\0\0\0\0"), b"bytes", {(1, 2): 3}, {"a": {b"b": 1}},
    msgspec.Raw(b"\x91" * (MAX_DEPTH + 1) + b"\1"), msgspec.Raw(b"\x81\xa1a" * (MAX_DEPTH + 1) + b"\1"),
]  # fmt: skip
READER = Principal(Kind.DEVICE, frozenset({scopes.READ}), "outer:0", -1, -1, 0, device="d" * 64, client="page")


class Page(Anybody):
    """A page that shows everything; it keeps what it was told as text."""

    def __init__(self, box: Box, nursery: trio.Nursery) -> None:
        super().__init__("page", READER, JSON, nursery)
        self.heard: list[Any] = []
        box.listener.join(self, events=True)
        box.listener.hear_sessions(self.id, True)

    def deliver(self, broadcast: Any) -> None:
        self.heard.append(msgspec.json.decode(broadcast.body(1, self.codec)))


async def tell(box: Box, worker: Worker, nursery: trio.Nursery, method: str, **params: Any) -> ErrorShape | None:
    """A worker's call as it travels; what was wrong with it."""
    peer = Anybody("worker", worker_principal(worker.born), MSGPACK, nursery)
    router = Router(HANDLERS, box.services, refused=lambda note: None)
    router.dispatch(peer, Request("1", method, msgspec.Raw(msgspec.msgpack.encode(params))))
    await box.settle()
    return peer.answers["1"][0]


@pytest.mark.parametrize("odd", ODD, ids=["ext", "time", "bytes", "pair as key", "bytes as key", "lists", "maps"])
async def test_what_json_cannot_hold_is_refused_by_name(odd, box, nursery):
    await box.send("hello")
    worker, run = await box.take()
    Page(box, nursery)
    who = {"runId": run.run_id, "attempt": run.attempt}
    await tell(box, worker, nursery, "worker.effect", **who, call="c", name="pay")
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("events[1].data ", "worker.emit", {"seq": 1, "events": [{"stream": "log"}, {"stream": "log", "data": odd}]}),
        ("events[0].stream ", "worker.emit", {"seq": 1, "events": [{"stream": odd}]}),
        ("the result of pay ", "worker.effect", {"call": "c", "name": "pay", "state": "done", "result": odd}),
    ]
    for begins, method, more in calls:
        wrong = await tell(box, worker, nursery, method, **who, **more)
        assert wrong is not None
        assert (wrong.code, wrong.message.startswith(begins)) == ("INVALID_REQUEST", True), wrong
    wrong = await tell(box, worker, nursery, "worker.state", runId=run.run_id, state={"a": odd})
    assert wrong is not None
    assert wrong.message.startswith("the state ")
    await worker.finish(run, "hi")
    assert box.state("hello") == "done"


async def test_keys_that_are_no_text_are_told_as_they_are_kept(box, nursery):
    await box.send("hello")
    worker, run = await box.take()
    page = Page(box, nursery)
    events = [{"stream": "log", "data": {None: 1, 2: [True]}}]
    assert await tell(box, worker, nursery, "worker.emit", runId=run.run_id, attempt=1, seq=1, events=events) is None
    (told,) = [one["payload"]["data"] for one in page.heard if one["payload"].get("stream") == "log"]
    assert told == {"null": 1, "2": [True]}


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_so_deep_and_no_deeper(wrap):
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = wrap(value)
    assert plain(value, "it") == value
    assert plain([wrap(1)] * 1000, "it") == [wrap(1)] * 1000
    with pytest.raises(Exception, match="it is nested more than 256 deep"):
        plain(wrap(value), "it")


async def test_a_page_can_read_which_arguments_a_tool_is_used_with(box, nursery):
    await box.send("hello")
    worker, _ = await box.take()
    page = Page(box, nursery)
    args = {"action": "list", "gatewayUrl": "ws://ä", "timeoutMs": 200}
    assert await tell(box, worker, nursery, "tools.invoke", name="cron", args=args) is None
    tools = [one["payload"]["data"] for one in page.heard if one["event"] == "session.tool"]
    assert [one["phase"] for one in tools] == ["start", "result"]
    assert tools[0]["args"] == {"action": "list"}
    assert MAIN in {one["payload"]["sessionKey"] for one in page.heard if one["event"] == "session.tool"}
