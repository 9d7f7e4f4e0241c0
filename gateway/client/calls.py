"""One connection to a gateway, whatever it is made of: calls and their answers, events, and how it ended.

Calls may be made from many tasks at once. Cancelling a call forgets its answer, the gateway still acts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import outcome
import trio

from gateway.link.base import Link, LinkLost, SlowConsumer
from gateway.protocol.errors import ErrorShape
from gateway.protocol.frames import MSGPACK, BadFrame, Codec, Event, Request, Response

CLOSED_EVENT = "closed"
MAX_UNREAD_EVENTS = 1024
"""Events that may wait to be read; one more ends the connection, because a gap in them would not be noticed."""


class CallFailed(Exception):
    """The gateway answered with an error."""

    def __init__(self, shape: ErrorShape) -> None:
        super().__init__(f"{shape.code}: {shape.message}")
        self.shape = shape

    @property
    def code(self) -> str:
        """One of `ErrorCode`."""
        return self.shape.code

    @property
    def message(self) -> str:
        """The sentence."""
        return self.shape.message

    @property
    def details(self) -> dict[str, Any]:
        """More, by key; may be empty."""
        return self.shape.details or {}


class ConnectionLost(Exception):
    """The connection ended, `reason` says why; whether a call in flight was carried out is unknown. `code` is that of
    the gateway's Close frame, where there was one: 4001 when this device was removed or its token changed, 1012 when
    the gateway is replaced."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class _Waiting:
    """One call in flight: the task that waits, and what came before it started to."""

    __slots__ = ("answers", "task")

    def __init__(self) -> None:
        self.answers: list[outcome.Outcome[Response]] = []
        self.task: trio.lowlevel.Task | None = None

    def put(self, answer: outcome.Outcome[Response]) -> None:
        if self.task is None:
            self.answers.append(answer)
        else:
            task, self.task = self.task, None
            trio.lowlevel.reschedule(task, answer)

    async def take(self) -> Response:
        if self.answers:
            await trio.lowlevel.checkpoint()
            return self.answers.pop(0).unwrap()
        self.task = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        response: Response = await trio.lowlevel.wait_task_rescheduled(abort)
        return response


class Client:
    """A greeted connection; made by `open_client`. `hello` is the hello-ok payload, `events` what the gateway tells."""

    def __init__(self, link: Link, codec: Codec = MSGPACK) -> None:
        self._link = link
        self._codec = codec
        self._calls: dict[str, _Waiting] = {}
        self._last_id = 0
        self._lost: ConnectionLost | None = None
        self._closed = trio.Event()
        self._said: str | None = None
        self._events_in, self.events = trio.open_memory_channel[Event](MAX_UNREAD_EVENTS)
        self.hello: dict[str, Any] = {}

    async def call(
        self,
        method: str,
        params: msgspec.Struct | dict[str, Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 (every caller wants one; a scope around the call does as well)
    ) -> Any:
        """The payload of the answer. Raises CallFailed, ConnectionLost, and trio.TooSlowError after `timeout`
        seconds."""
        id, waiting = self._start(method, params)
        try:
            if timeout is None:
                return _payload(await waiting.take())
            with trio.fail_after(timeout):
                return _payload(await waiting.take())
        finally:
            self._calls.pop(id, None)

    async def call_final(self, method: str, params: msgspec.Struct | dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Both payloads of a method that answers twice. Raises as `call` does."""
        id, waiting = self._start(method, params)
        try:
            return _payload(await waiting.take()), _payload(await waiting.take())
        finally:
            self._calls.pop(id, None)

    async def wait_closed(self) -> str:
        """Wait until the connection has ended; why."""
        await self._closed.wait()
        return self.lost or "closed"

    @property
    def lost(self) -> str | None:
        """Why the connection ended, or None while it lives."""
        return self._lost.reason if self._lost is not None else None

    def _start(self, method: str, params: msgspec.Struct | dict[str, Any] | None) -> tuple[str, _Waiting]:
        if self._lost is not None:
            raise ConnectionLost(self._lost.reason, self._lost.code)
        self._last_id += 1
        id = str(self._last_id)
        raw = msgspec.Raw(self._codec.encode_value(params if params is not None else {}))
        body = self._codec.encode(Request(id, method, raw))
        waiting = self._calls[id] = _Waiting()
        try:
            self._link.send_nowait(body)
        except (LinkLost, SlowConsumer) as error:
            del self._calls[id]
            self._end(str(error))
            raise ConnectionLost(str(error)) from error
        return id, waiting

    async def read_forever(self) -> None:
        """Take what the gateway sends until the connection ends."""
        reason = "closed by the gateway"
        try:
            while self._lost is None and (bodies := await self._link.receive()):
                for body in bodies:
                    self._take(body)
        except (LinkLost, BadFrame) as error:
            reason = str(error)
        finally:
            self._end(*self._last_words(self._said or reason))

    def _last_words(self, reason: str) -> tuple[str, int | None]:
        """Why the gateway closed, as far as it said so; the code of its Close frame where there is one."""
        return reason, None

    def hang_up(self) -> None:
        """Close the connection; calls in flight fail."""
        self._end("closed by us")

    def _take(self, body: bytes) -> None:
        frame = self._codec.decode_incoming(body)
        if isinstance(frame, Response):
            if waiting := self._calls.get(frame.id):
                waiting.put(outcome.Value(frame))
        elif frame.event == CLOSED_EVENT:
            self._said = str(frame.payload.get("reason")) if isinstance(frame.payload, dict) else None
        else:
            try:
                self._events_in.send_nowait(frame)
            except trio.WouldBlock:
                self._end(f"{MAX_UNREAD_EVENTS} events were not read")

    def _end(self, reason: str, code: int | None = None) -> None:
        if self._lost is not None:
            return
        self._lost = ConnectionLost(reason, code)
        self._closed.set()
        self._events_in.close()
        for waiting in tuple(self._calls.values()):
            waiting.put(outcome.Error(ConnectionLost(reason, code)))
        self._link.close()


def _payload(response: Response) -> Any:
    if response.ok:
        return response.payload
    raise CallFailed(response.error or ErrorShape("UNAVAILABLE", "an error without a text"))


C = TypeVar("C", bound=Client)


@asynccontextmanager
async def carried(
    make: Callable[[trio.Nursery], Awaitable[C]], greet: Callable[[C], Awaitable[dict[str, Any]]], deadline: float
) -> AsyncIterator[C]:
    """A client for as long as the block lasts, connected by `make` and greeted by `greet` by `deadline`, on Trio's
    clock."""
    failure: Exception | None = None
    with trio.fail_at(deadline) as connecting:
        async with trio.open_nursery() as nursery:
            made: C | None = None
            try:
                made = await make(nursery)
                nursery.start_soon(made.read_forever)
                made.hello = await greet(made)
                connecting.deadline = float("inf")
                yield made
            except Exception as error:  # raised again below, outside the nursery, which would wrap it in a group
                failure = error
            finally:
                if made is not None:
                    made.hang_up()
                nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
