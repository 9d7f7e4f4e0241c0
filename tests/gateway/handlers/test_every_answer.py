"""Every answer can be written for every door, and every call can be sent as OpenClaw's clients send it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import msgspec
import pytest

from gateway.handlers import HANDLERS
from gateway.protocol.calls import ROWS
from gateway.protocol.frames import JSON
from gateway.router import Call
from tests.support.calls import Caller
from tests.support.engine import finished_turn, open_box

MAIN = "agent:main:main"
# As text, with what clients of OpenClaw 2026.9.6 may send; `null` and nested values where nothing is done with them.
CALLS: dict[str, dict[str, Any]] = {
    "health": {"probe": True, "includeSensitive": False},
    "status": {"includeChannelSummary": True},
    "system-presence": {},
    "gateway.identity.get": {},
    "last-heartbeat": {},
    "config.get": {},
    "agents.list": {},
    "agent.identity.get": {"sessionKey": "main"},
    "models.list": {"view": "default", "sessionKey": "main", "refresh": False},
    "tools.catalog": {"agentId": "main", "includePlugins": True},
    "tools.invoke": {"name": "sessions_list", "args": {"limit": 3}, "sessionKey": MAIN, "confirm": False},
    "channels.status": {"probe": False, "timeoutMs": 8000},
    "node.list": {},
    "refusals.list": {},
    "runs.list": {},
    "sessions.list": {
        "limit": 50,
        "includeGlobal": True,
        "includeUnknown": False,
        "sortBy": "updatedAt",
        "group": None,
    },
    "sessions.describe": {"key": MAIN, "includeLastMessage": True},
    "sessions.resolve": {"key": MAIN, "includeGlobal": True},
    "sessions.preview": {"keys": [MAIN]},
    "sessions.create": {"agentId": "main", "parentSessionKey": MAIN, "visibility": {"a": [1]}},
    "sessions.send": {"key": MAIN, "message": "x", "thinking": "low", "idempotencyKey": "s"},
    "sessions.abort": {"key": MAIN},
    "sessions.patch": {"key": MAIN, "label": "l", "verboseLevel": None, "expectedLabel": None},
    "sessions.delete": {"key": "agent:main:none", "emitLifecycleHooks": False},
    "sessions.subscribe": {},
    "sessions.unsubscribe": {},
    "sessions.messages.subscribe": {"key": MAIN, "includeApprovals": True},
    "sessions.messages.unsubscribe": {"key": MAIN},
    "chat.history": {"sessionKey": MAIN, "limit": 20, "maxBytes": 65536},
    "chat.startup": {"sessionKey": MAIN, "limit": 80, "maxBytes": 262144, "inputRunIds": ["hello"]},
    "chat.send": {"sessionKey": MAIN, "message": "x", "idempotencyKey": "c", "deliver": False, "thinking": "off"},
    "chat.abort": {"sessionKey": MAIN, "preserveSideRuns": True},
    "agent.wait": {"runId": "hello", "timeoutMs": 1},
    # As the command line of OpenClaw 2026.9.6 sends them.
    "cron.list": {"includeDisabled": False, "limit": 200, "offset": 0},
    "cron.status": {},
    "cron.add": {
        "name": "probe",
        "enabled": True,
        "schedule": {"kind": "at", "at": "2030-01-01T00:00:00.000Z"},
        "sessionTarget": "main",
        "wakeMode": "now",
        "payload": {"kind": "systemEvent", "text": "hello"},
    },
    "cron.runs": {"scope": "all", "limit": 50},
    "wake": {"mode": "next-heartbeat", "text": "hello"},
}


class TextCaller(Caller):
    """A client of the outer door, as far as the codec goes."""

    def __init__(self, services: Any) -> None:
        super().__init__(services)
        self.codec = JSON

    async def ask(self, method: str, **params: Any) -> Any:
        decoded = ROWS[method].json_decoder.decode(msgspec.json.encode(params))
        answer = HANDLERS[method](Call(ROWS[method], "1", decoded, self, self._services))
        if isinstance(answer, Awaitable):
            answer = await answer
        return msgspec.json.decode(msgspec.json.encode(answer))


@pytest.mark.parametrize("method", CALLS)
async def test_a_call_as_text_is_answered_as_text(method, tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        await finished_turn(box, "hello", "hi")
        packed = await Caller(box.services).ask(method, **CALLS[method])
        text = await TextCaller(box.services).ask(method, **CALLS[method])
        assert type(text) is type(packed)
        if isinstance(text, dict):
            assert text.keys() == packed.keys()


def times_of(answer: Any) -> list[tuple[str, Any]]:
    """Every time in an answer, however deep, with its name."""
    if isinstance(answer, list | tuple):
        return [time for each in answer for time in times_of(each)]
    if not isinstance(answer, dict):
        return []
    own = [(name, value) for name, value in answer.items() if name == "ts" or str(name).endswith(("At", "Ms"))]
    return own + [time for each in answer.values() for time in times_of(each)]


@pytest.mark.parametrize("method", ["runs.list", "agent.wait", "refusals.list", "tools.invoke", "sessions.list"])
async def test_a_time_is_a_whole_number_of_milliseconds(method, tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        mock_clock.jump(0.0123)  # the clock's times are fractions from here on
        await finished_turn(box, "hello", "hi")
        await box.spawn("kid")
        box.services.refusals.note(code="NOBODY", door="agents", peer="uid 7", reason="no")
        await box.settle()
        mock_clock.jump(0.1)
        await box.settle()
        children: dict[str, Any] = {"name": "subagents", "args": {"action": "list"}, "sessionKey": MAIN}
        params = {"tools.invoke": children, "agent.wait": {"runId": "hello"}}.get(method, {})
        times = times_of(await TextCaller(box.services).ask(method, **params))
    assert times
    assert [name for name, time in times if type(time) is not int] == []


@pytest.mark.parametrize("event", ["agent", "chat", "session.message", "session.tool", "sessions.changed", "presence"])
async def test_every_event_can_be_written_as_text(event, tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        await box.send("hello")
        worker, run = await box.take()
        await worker.say(run, "a")
        await worker.note(run, "pay")
        await worker.finish(run, "a")
        box.services.hub.publish("presence", {"presence": box.services.presence.rows()})
        mock_clock.jump(0.1)
        await box.settle()
        for payload in box.listener.of(event):
            assert msgspec.json.decode(msgspec.json.encode(payload)) == msgspec.msgpack.decode(
                msgspec.msgpack.encode(payload)
            )
        assert box.listener.of(event)
