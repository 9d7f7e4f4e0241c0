"""A Trio client for the Unix doors: call methods, hear events. For workers, the benchmark and tests.

Owns one connection and nothing else: it neither reconnects nor repeats a call; whoever uses it does, with the same
idempotency key. Calls may be made from many tasks at once. Cancelling a call forgets its answer, the gateway still
acts."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import outcome
import trio

from gateway.link.base import LinkLost, SlowConsumer
from gateway.link.unix import UnixLink, connect_unix
from gateway.protocol.errors import ErrorShape
from gateway.protocol.frames import BadFrame, Event, Request, Response, decode_incoming, encode
from gateway.protocol.limits import MAX_PAYLOAD_BYTES

CLOSED_EVENT = "closed"
MAX_UNREAD_EVENTS = 1024
"""Events that may wait to be read; one more ends the connection, because a gap in them would not be noticed."""
MAX_ANSWER_BYTES = MAX_PAYLOAD_BYTES + 64 * 1024
CONNECT_SECONDS = 15.0

_encoder = msgspec.msgpack.Encoder()


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
    """The connection ended, `reason` says why; whether a call in flight was carried out is unknown."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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

    def __init__(self, link: UnixLink) -> None:
        self._link = link
        self._calls: dict[str, _Waiting] = {}
        self._last_id = 0
        self._lost: str | None = None
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
        return self._lost or "closed"

    @property
    def lost(self) -> str | None:
        """Why the connection ended, or None while it lives."""
        return self._lost

    def _start(self, method: str, params: msgspec.Struct | dict[str, Any] | None) -> tuple[str, _Waiting]:
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        self._last_id += 1
        id = str(self._last_id)
        raw = msgspec.Raw(_encoder.encode(params if params is not None else {}))
        body = encode(Request(id, method, raw))
        waiting = self._calls[id] = _Waiting()
        try:
            self._link.send_nowait(body)
        except (LinkLost, SlowConsumer) as error:
            del self._calls[id]
            self._end(str(error))
            raise ConnectionLost(str(error)) from error
        return id, waiting

    async def _read_forever(self) -> None:
        reason = "closed by the gateway"
        try:
            while self._lost is None and (bodies := await self._link.receive()):
                for body in bodies:
                    self._take(body)
        except (LinkLost, BadFrame) as error:
            reason = str(error)
        finally:
            self._end(self._said or reason)

    def _take(self, body: bytes) -> None:
        frame = decode_incoming(body)
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

    def _end(self, reason: str) -> None:
        if self._lost is not None:
            return
        self._lost = reason
        self._closed.set()
        self._events_in.close()
        for waiting in tuple(self._calls.values()):
            waiting.put(outcome.Error(ConnectionLost(reason)))
        self._link.close()


def _payload(response: Response) -> Any:
    if response.ok:
        return response.payload
    raise CallFailed(response.error or ErrorShape("UNAVAILABLE", "an error without a text"))


@asynccontextmanager
async def open_client(
    path: str,
    *,
    ticket: str | None = None,
    events: bool = False,
    client: dict[str, Any] | None = None,
    connect_timeout: float = CONNECT_SECONDS,
) -> AsyncIterator[Client]:
    """A greeted connection to the door at `path`, closed at the end of the block.

    Raises OSError when nobody listens, CallFailed when the gateway refuses us, ConnectionLost when it hangs up, and
    trio.TooSlowError when it has not greeted within `connect_timeout` seconds."""
    deadline = trio.current_time() + connect_timeout
    with trio.fail_at(deadline):
        sock = await connect_unix(path)
    hello = {"maxProtocol": 4, "events": events, "client": client or {"id": "peergate"}}
    async with greeted(sock, hello | ({"ticket": ticket} if ticket else {}), deadline) as made:
        yield made


@asynccontextmanager
async def greeted(sock: socket.socket, hello: dict[str, Any], deadline: float) -> AsyncIterator[Client]:
    """The same over a connected socket, which is ours from now on; greeted by `deadline`, on Trio's clock."""
    failure: Exception | None = None
    with trio.fail_at(deadline) as connecting:
        async with trio.open_nursery() as nursery:
            made = Client(UnixLink(sock, nursery, limit=MAX_ANSWER_BYTES))
            nursery.start_soon(made._read_forever)
            try:
                made.hello = await made.call("connect", hello)
                connecting.deadline = float("inf")
                yield made
            except Exception as error:  # raised again below, outside the nursery, which would wrap it in a group
                failure = error
            finally:
                made._end("closed by us")
                nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
