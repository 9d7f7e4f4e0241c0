"""Calling handlers as the router would: parameters and answers travel as bytes, the principal is real."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gateway.auth.principal import Kind, Principal
from gateway.handlers import HANDLERS
from gateway.protocol import scopes
from gateway.protocol.calls import ROWS
from gateway.protocol.errors import ErrorShape
from gateway.protocol.frames import MSGPACK
from gateway.router import Call
from gateway.services import Services
from tests.support.engine import Born

OPERATOR = Principal(Kind.OPERATOR, frozenset({scopes.ADMIN}), "operator", 0, 0, 4242)


def worker_principal(born: Born) -> Principal:
    """The principal of a ticketed worker."""
    granted = frozenset({scopes.WORKER, scopes.SESSION})
    return Principal(Kind.WORKER, granted, "agents", 0, 0, born.pid, born.start, born.agent, born.session, born.spawn)


class Caller:
    """A connection that remembers what it was told."""

    def __init__(self, services: Services, principal: Principal = OPERATOR) -> None:
        self.id = "c1"
        self.principal = principal
        self.in_flight: set[str] = set()
        self.codec = MSGPACK
        self.answers: list[Any] = []
        self.events: list[tuple[str, Any]] = []
        self._services = services

    def respond(self, id: str, payload: object) -> None:
        self.answers.append(_travelled(payload))

    def respond_error(self, id: str, error: ErrorShape) -> None:
        self.answers.append(error)

    def post_event(self, event: str, payload: object) -> None:
        self.events.append((event, _travelled(payload)))

    def start(self, run: Callable[[], Awaitable[None]], *, patient: bool) -> None:
        raise AssertionError("handlers start nothing of their own")

    async def ask(self, method: str, **params: Any) -> Any:
        """The answer (the last one, when there are several); raises Refusal."""
        row = ROWS[method]
        decoded = row.decoder.decode(msgspec.msgpack.encode(params))
        answer = HANDLERS[method](Call(row, "1", decoded, self, self._services))
        if isinstance(answer, Awaitable):
            answer = await answer
        return _travelled(answer)


def _travelled(payload: object) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(payload))
