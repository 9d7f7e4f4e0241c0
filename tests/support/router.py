"""A router with handlers of a test's own, and a connection that keeps what it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import msgspec

from gateway.auth.principal import Principal, Refusal
from gateway.protocol.errors import ErrorShape
from gateway.protocol.frames import MSGPACK, Request
from gateway.router import Call, Router
from gateway.services import Services


class Listener:
    """A connection that keeps its answers, and runs what is started when told to."""

    def __init__(self, principal: Principal) -> None:
        self.id, self.principal, self.in_flight, self.codec = "c1", principal, set[str](), MSGPACK
        self.answers: list[tuple[str, object]] = []
        self.started: list[Callable[[], Awaitable[None]]] = []

    def respond(self, id: str, payload: object) -> None:
        msgspec.msgpack.encode(payload)
        self.answers.append((id, payload))

    def respond_error(self, id: str, error: ErrorShape) -> None:
        self.answers.append((id, error))

    def post_event(self, event: str, payload: object) -> None:
        raise AssertionError("nothing here posts events")

    def start(self, run: Callable[[], Awaitable[None]], *, patient: bool) -> None:
        self.started.append(run)

    async def finish(self) -> None:
        for run in self.started:
            await run()

    @property
    def error(self) -> ErrorShape:
        (only,) = self.answers
        assert isinstance(only[1], ErrorShape), only
        return only[1]


def make_router(refusals: list[Refusal] | None = None, **handlers: Callable[[Call], object]) -> Router:
    named = {name.replace("__", "."): handler for name, handler in handlers.items()}
    return Router(named, cast("Services", None), refused=(refusals if refusals is not None else []).append)


def request(method: str, params: object = None, id: str = "1") -> Request:
    return Request(id, method, msgspec.Raw(msgspec.msgpack.encode(params or {})))
