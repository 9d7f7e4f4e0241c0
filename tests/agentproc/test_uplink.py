"""The connection that comes back: against a gateway on a real socket that hangs up when it hurts most."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from agentproc.uplink import Uplink
from gateway.client import CallFailed, Client, open_client
from gateway.protocol.errors import invalid, unavailable
from gateway.protocol.frames import Event
from tests.support.fake_gateway import FakeGateway, HangUp, open_fake_gateway


class Desk:
    """An uplink with what it told and was told. `came` is set by every event, `tried` by the second ticket."""

    def __init__(self, path: Path) -> None:
        self.heard: list[Event] = []
        self.came, self.tried = trio.Event(), trio.Event()
        self.greeted = 0
        self.tickets = 0
        self.changes: list[bool] = []
        self.uplink = Uplink(
            lambda ticket: open_client(str(path), ticket=ticket), self._ticket,
            greet=self._greet, hear=self._hear, on_change=lambda connected, why: self.changes.append(connected),
        )  # fmt: skip

    async def _ticket(self) -> str:
        self.tickets += 1
        if self.tickets == 2:
            self.tried.set()
        return f"ticket-{self.tickets}"

    def _hear(self, event: Event) -> None:
        self.heard.append(event)
        self.came.set()

    async def _greet(self, client: Client) -> None:
        self.greeted += 1


@asynccontextmanager
async def open_desk(directory: Path) -> AsyncIterator[tuple[FakeGateway, Desk]]:
    with trio.fail_after(10):
        async with open_fake_gateway(directory) as fake, trio.open_nursery() as nursery:
            desk = Desk(fake.path)
            nursery.start_soon(desk.uplink.serve)
            yield fake, desk
            nursery.cancel_scope.cancel()


def die_first(times: int, answer: Any) -> Any:
    """An answer that comes only after the connection died `times` times."""
    left = [times]

    def reply(params: dict[str, Any]) -> Any:
        if left[0]:
            left[0] -= 1
            raise HangUp
        return answer

    return reply


async def test_a_call_in_flight_when_the_gateway_dies_is_sent_again_unchanged(tmp_path: Path):
    async with open_desk(tmp_path) as (fake, desk):
        fake.answers["tools.invoke"] = die_first(3, {"status": "accepted"})
        call = {"name": "sessions_spawn", "args": {"task": "x"}, "idempotencyKey": "k"}
        assert await desk.uplink.call("tools.invoke", call) == {"status": "accepted"}
        assert fake.asked("tools.invoke") == [call] * 4


async def test_every_connect_takes_a_fresh_ticket_and_greets_before_anything_else(tmp_path: Path):
    async with open_desk(tmp_path) as (fake, desk):
        fake.answers["x"] = die_first(1, 1)
        await desk.uplink.call("x")
        assert [params["ticket"] for params in fake.asked("connect")] == ["ticket-1", "ticket-2"]
        assert desk.greeted == 2
        assert desk.changes == [True, False, True]


async def test_a_call_made_before_there_is_a_gateway_waits_for_it(tmp_path: Path, nursery: trio.Nursery):
    desk = Desk(tmp_path / "agents.sock")
    nursery.start_soon(desk.uplink.serve)
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await desk.uplink.call("x"))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await desk.tried.wait()  # so it has tried in vain
        fake = FakeGateway(tmp_path / "agents.sock")
        fake.answers["x"] = lambda params: "late"
        await nursery.start(fake.serve)
    assert answers == ["late"]
    nursery.cancel_scope.cancel()


async def test_a_refusal_is_told_at_once_and_the_connection_stays(tmp_path: Path):
    async with open_desk(tmp_path) as (fake, desk):

        def refuse(params: dict[str, Any]) -> None:
            raise invalid("no")

        fake.answers["x"] = refuse
        with pytest.raises(CallFailed, match="no"):
            await desk.uplink.call("x")
        assert desk.greeted == 1


async def test_a_gateway_that_says_later_is_asked_again_until_patience_is_over(tmp_path: Path):
    async with open_desk(tmp_path) as (fake, desk):
        asked = [0]

        def later(params: dict[str, Any]) -> str:
            asked[0] += 1
            if asked[0] < 3:
                raise unavailable("draining", 1)
            return "now"

        fake.answers["x"] = later
        assert await desk.uplink.call("x", patience=5) == "now"
        asked[0] = -(10**6)
        with pytest.raises(CallFailed, match="draining"):
            await desk.uplink.call("x", patience=0.05)


async def test_events_are_heard_also_after_a_reconnect(tmp_path: Path):
    async with open_desk(tmp_path) as (fake, desk):
        fake.answers["x"] = die_first(1, 1)
        await desk.uplink.call("x")
        await fake.post("worker.abort", {"runId": "r"})
        await desk.came.wait()
        assert desk.heard[0].event == "worker.abort"


async def test_a_gateway_that_refuses_the_greeting_is_tried_again(tmp_path: Path):
    async with open_desk(tmp_path) as (fake, desk):
        await fake.wait_for("connect")
        refused = die_first(2, {"type": "hello-ok"})
        fake.answers["connect"] = refused
        await fake.hang_up()
        fake.answers["x"] = lambda params: 1
        assert await desk.uplink.call("x") == 1
        assert desk.tickets == 4
