"""A small gateway of our own on a real Unix socket: it speaks the frames, hands out runs, and can be told to die at any
moment.

Owns: what a worker sees of a gateway. It keeps every call in order, answers as it is told, and hangs up when asked
to."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from gateway.protocol.errors import ErrorShape, Refusal
from gateway.protocol.frames import Event, Request, Response, Splitter, decode_request, encode, pack

Answer = Callable[[dict[str, Any]], Any]


class HangUp(Exception):
    """Raised by an answer: the connection ends before the caller hears it."""


class FakeGateway:
    """`answers` maps a method to a function of its parameters (plain or async) that returns the payload, raises
    Refusal, or raises HangUp. `calls` is what was asked, in order. `runs` are handed out by `worker.next`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Answer] = {
            "connect": lambda params: {"type": "hello-ok"},
            "worker.next": self._next,
            "worker.emit": lambda params: {"acked": params["seq"] + len(params["events"]) - 1},
            "worker.finish": lambda params: {"ok": True},
            "worker.steering": lambda params: {"ok": True},
            "worker.state": lambda params: {"ok": True},
        }
        self._runs: deque[dict[str, Any]] = deque()
        self._streams: set[trio.SocketStream] = set()
        self._changed = trio.Condition()
        self._sending = trio.Lock()

    async def hand_out(self, run: dict[str, Any]) -> None:
        """Have `worker.next` answer with this assignment."""
        self._runs.append({"attempt": 1, "provenance": {"kind": "external_user"}, **run})
        await self._tell()

    def asked(self, method: str) -> list[dict[str, Any]]:
        """The parameters of every call of a method."""
        return [params for name, params in self.calls if name == method]

    async def wait_for(self, method: str, count: int = 1) -> dict[str, Any]:
        """Wait until a method was called `count` times; the parameters of that call."""
        with trio.fail_after(5):
            async with self._changed:
                while len(self.asked(method)) < count:
                    await self._changed.wait()
        return self.asked(method)[count - 1]

    async def post(self, event: str, payload: dict[str, Any]) -> None:
        """Send an event on every connection."""
        for stream in tuple(self._streams):
            await self._send(stream, Event(event, payload))

    async def hang_up(self) -> None:
        """End every connection at once."""
        for stream in tuple(self._streams):
            await trio.aclose_forcefully(stream)

    async def serve(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve for ever."""
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(str(self.path))
        sock.listen()
        try:
            await trio.serve_listeners(self._talk, [trio.SocketListener(sock)], task_status=task_status)
        finally:
            self.path.unlink()

    async def _next(self, params: dict[str, Any]) -> dict[str, Any]:
        if holding := params.get("holding"):
            return {"runId": holding, "attempt": params["attempt"], "message": "", "provenance": {}, "resumed": True}
        async with self._changed:
            while not self._runs:
                await self._changed.wait()
            return self._runs.popleft()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _talk(self, stream: trio.SocketStream) -> None:
        splitter = Splitter(25 * 1024 * 1024)
        self._streams.add(stream)
        try:
            async with trio.open_nursery() as nursery:
                async for data in stream:
                    splitter.feed(bytes(data))
                    while (body := splitter.next_body()) is not None:
                        nursery.start_soon(self._answer, stream, decode_request(body))
                nursery.cancel_scope.cancel()
        except* (trio.ClosedResourceError, trio.BrokenResourceError, HangUp):
            await trio.aclose_forcefully(stream)
        finally:
            self._streams.discard(stream)

    async def _answer(self, stream: trio.SocketStream, request: Request) -> None:
        params: dict[str, Any] = msgspec.msgpack.decode(request.params)
        self.calls.append((request.method, params))
        await self._tell()
        try:
            payload = self.answers[request.method](params)
            response = Response(request.id, True, await payload if inspect.isawaitable(payload) else payload)
        except Refusal as refusal:
            response = Response(request.id, False, error=refusal.shape)
        except KeyError:
            response = Response(request.id, False, error=ErrorShape("INVALID_REQUEST", f"unknown: {request.method}"))
        await self._send(stream, response)

    async def _send(self, stream: trio.SocketStream, frame: Response | Event) -> None:
        async with self._sending:
            await stream.send_all(pack(encode(frame)))


@asynccontextmanager
async def open_fake_gateway(directory: Path) -> AsyncIterator[FakeGateway]:
    """A fake gateway that serves until the end of the block."""
    fake = FakeGateway(directory / "agents.sock")
    async with trio.open_nursery() as nursery:
        await nursery.start(fake.serve)
        yield fake
        nursery.cancel_scope.cancel()
