"""Frames over a WebSocket, for both ends: JSON text, one frame each (RFC 6455).

Owns the WebSocket and the TCP connection below it. trio-websocket shakes hands, reads, answers pings and closes; what
we say is framed here, whole, into the same stream: it is never masked by us as a server, never compressed and never
fragmented, so a broadcast to many costs each of them a few microseconds. The only file that knows trio-websocket."""

from __future__ import annotations

import contextlib
import logging
import os
import struct
from collections.abc import Awaitable, Callable
from typing import cast

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
    wrap_server_stream,
)

from gateway.link.base import LinkLost, PeerSilent
from gateway.link.bounds import Frames
from gateway.link.tcp import Tcp
from gateway.protocol.errors import CLOSE_CODES, POLICY_CLOSE, TOLD_REASONS, CloseReason
from gateway.protocol.frames import BadFrame, FrameTooLarge
from gateway.protocol.limits import MAX_PAYLOAD_BYTES

_log = logging.getLogger("gateway.link")

MAX_REASON_BYTES = 120
"""Of a Close frame's text; a control frame has 125 bytes in all (RFC 6455 section 5.5)."""
PING_SECONDS = 25.0
"""Between two pings; and how long the pong may take while nothing moves: it may have to wait behind much else."""
QUEUED_MESSAGES = 16
"""Messages that are read ahead; then the peer is made to wait by TCP."""

_TEXT, _CLOSE = 0x81, 0x88
_TOO_BIG = 1009


class WebSocketLink:
    """One end of a greeted WebSocket; made by `accept` or `connect`. `limit` bounds one incoming text."""

    def __init__(
        self, websocket: WebSocketConnection, stream: Tcp, over: trio.Event, *, limit: int = MAX_PAYLOAD_BYTES
    ) -> None:
        self._limit = limit
        self._websocket = websocket
        self._stream = stream
        self._over = over
        self._masked = websocket.is_client
        self._silent = ""
        self._parting = False

    @property
    def limit(self) -> int:
        """Bytes one incoming text may have. Whoever sets it lets the peer in: it may send as much as it likes."""
        return self._limit

    @limit.setter
    def limit(self, value: int) -> None:
        self._limit = value
        self._stream.early = None

    @property
    def max_buffered(self) -> int:
        """Bytes the peer may leave unread."""
        return self._stream.max_buffered

    @max_buffered.setter
    def max_buffered(self, value: int) -> None:
        self._stream.max_buffered = value

    @property
    def pending(self) -> int:
        """Nothing we could count: what is not whole is in trio-websocket's hands."""
        return 0

    def attach(self, nursery: trio.Nursery) -> WebSocketLink:
        """Write and ping from `nursery`; itself."""
        self._stream.attach(nursery, gather=not self._masked)
        nursery.start_soon(self._keep_alive)
        return self

    async def receive(self, most: int = 1) -> list[bytes]:
        """One body; an empty list when the peer has closed. Raises BadFrame, FrameTooLarge, PeerSilent, LinkLost."""
        try:
            text = await self._websocket.get_message()
        except ConnectionClosed as closed:
            return self._ended(closed)
        if isinstance(text, bytes):
            raise BadFrame("invalid request frame: a binary frame, only text is spoken here")
        body = text.encode()
        if len(body) > self._limit:
            raise FrameTooLarge(f"a frame of {len(body)} bytes, at most {self._limit} are allowed here")
        return [body]

    def _ended(self, closed: ConnectionClosed) -> list[bytes]:
        if self._silent:
            raise PeerSilent(f"{self._silent} within {PING_SECONDS:.0f} s")
        if self._stream.overrun:
            raise FrameTooLarge("more than is taken before hello")
        if closed.reason is not None and closed.reason.code == _TOO_BIG and not self._masked:
            raise FrameTooLarge(f"a frame of more than {MAX_PAYLOAD_BYTES} bytes")
        return []

    def send_nowait(self, body: bytes) -> None:
        """Send a body, now as far as the kernel takes it, else later. Raises SlowConsumer, LinkLost."""
        if self._websocket.closed is not None:
            raise LinkLost("the WebSocket is closed")
        self._stream.write(frame(_TEXT, body, masked=self._masked))

    def farewell(self, reason: CloseReason, detail: str) -> None:
        """A Close frame with the reason's code; the details only where the peer shall know them."""
        code = CLOSE_CODES.get(reason, POLICY_CLOSE)
        text = (detail or reason.value) if reason in TOLD_REASONS else reason.value
        self.part(code, "" if reason is CloseReason.HELLO_TIMEOUT else text)

    def part(self, code: int, text: str) -> None:
        """A Close frame; the last we send. Raises SlowConsumer, LinkLost."""
        # Who sent more than it may has been given up by trio-websocket without a word.
        unsaid = self._websocket.closed is None or self._stream.overrun
        try:
            if unsaid and not self._parting:
                payload = struct.pack("!H", code) + cut(text, MAX_REASON_BYTES)
                self._stream.write(frame(_CLOSE, payload, masked=self._masked))
        finally:
            self._parting = True
            self._stream.seal()  # trio-websocket would answer the peer's Close with a second one of ours

    @property
    def closed(self) -> tuple[int, str] | None:
        """Code and text of the peer's Close frame, once there was one."""
        reason = self._websocket.closed
        return (reason.code, reason.reason or "") if reason is not None else None

    async def flush(self) -> None:
        """Wait until everything has left; after the last words, until the peer has hung up too, or what we sent last
        could be lost with what we never read. Bound it outside. Raises LinkLost."""
        await self._stream.flush()
        if not self._parting:
            return
        self._stream.half_close()
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._websocket.get_message()
        await self._over.wait()
        self._stream.early = None
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while await self._stream.receive_some():
                pass

    def close(self) -> None:
        """Close the connection; what has not been sent is lost."""
        self._stream.close()

    async def _keep_alive(self) -> None:
        """End it when the peer is silent: it has to take some of what waits for it, or else to send something."""
        stream = self._stream
        with contextlib.suppress(ConnectionClosed):
            while True:
                await trio.sleep(PING_SECONDS)
                came, waited, taken = stream.came, stream.waiting, stream.written - stream.waiting
                while not await self._answers():
                    behind = max(waited, stream.waiting) > 0
                    if (taken >= stream.written - stream.waiting) if behind else (came >= stream.came):
                        self._silent = "nothing taken" if behind else "no pong"
                        return stream.close()  # wakes whoever reads
                    came, waited, taken = stream.came, stream.waiting, stream.written - stream.waiting

    async def _answers(self) -> bool:
        with trio.move_on_after(PING_SECONDS):
            if self._stream.unsent > self._stream.max_buffered:
                await trio.sleep_forever()  # no room for a ping behind a large answer; what moves tells as much
            await self._websocket.ping()
            return True
        return False


def frame(kind: int, payload: bytes, *, masked: bool) -> bytes:
    """One final frame; a client's is masked with a fresh key (RFC 6455 section 5.2)."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = bytes((kind, bit | size))
    elif size < 0x10000:
        head = struct.pack("!BBH", kind, bit | 126, size)
    else:
        head = struct.pack("!BBQ", kind, bit | 127, size)
    if not masked:
        return head + payload
    key = os.urandom(4)
    pad = (key * (size // 4 + 1))[:size]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


def cut(text: str, most: int) -> bytes:
    """As much of `text` as fits into `most` bytes of UTF-8, whole characters."""
    return text.encode()[:most].decode(errors="ignore").encode()


class _Reading:
    """What trio-websocket takes for a nursery: runs its reader in a real one, where it ends nobody but itself.

    A Ping behind a Close makes the reader raise (its issue 184), and so does a server that answers no. When it has
    ended, nobody is woken who waits for a handshake: that is to happen within `shaking`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.shaking = trio.CancelScope()
        self.over = trio.Event()
        self.error: Exception | None = None

    def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._read, reader)

    async def _read(self, reader: Callable[[], Awaitable[None]]) -> None:
        try:
            await reader()
        except Exception as error:
            self.error = error
            _log.debug("a WebSocket ended oddly", extra={"error": repr(error)})
        finally:
            self.over.set()
            self.shaking.cancel()

    @property
    def why(self) -> str:
        """Why there was no handshake."""
        if isinstance(self.error, ConnectionRejected):
            return f"no WebSocket there: HTTP {self.error.status_code}"
        return f"no WebSocket handshake: {self.error!r}" if self.error else "no WebSocket handshake"


async def accept(nursery: trio.Nursery, stream: Tcp, *, limit: int) -> WebSocketLink:
    """Be the server of a WebSocket whose request is the next thing to read; it is read from by a task in `nursery`.

    Raises LinkLost when there is no handshake; bound it outside."""
    reading = _Reading(nursery)
    stream.frames = Frames()
    try:
        with reading.shaking:
            request = await wrap_server_stream(
                cast("trio.Nursery", reading), stream, max_message_size=MAX_PAYLOAD_BYTES, receive_buffer_size=65536,
                message_queue_size=QUEUED_MESSAGES,
            )  # fmt: skip
            return WebSocketLink(await request.accept(), stream, reading.over, limit=limit)
    except (HandshakeError, ConnectionClosed, trio.BrokenResourceError) as error:
        raise LinkLost(str(error) or type(error).__name__) from error
    raise LinkLost(reading.why)


async def connect(
    nursery: trio.Nursery, stream: Tcp, *, host: str, path: str = "/", origin: str | None = None
) -> WebSocketLink:
    """Be the client of a WebSocket over a connected stream. Raises LinkLost when the server does not accept."""
    headers = [(b"Origin", origin.encode())] if origin else []
    # Its types name Trio's two streams; any stream does, as its documentation says.
    below = cast("trio.SocketStream", stream)
    reading = _Reading(nursery)
    try:
        with reading.shaking:
            websocket = await wrap_client_stream(
                cast("trio.Nursery", reading), below, host, path, extra_headers=headers,
                max_message_size=2 * MAX_PAYLOAD_BYTES, receive_buffer_size=65536,
                message_queue_size=QUEUED_MESSAGES,
            )  # fmt: skip
            return WebSocketLink(websocket, stream, reading.over)
    except (HandshakeError, ConnectionClosed, trio.BrokenResourceError) as error:
        raise LinkLost(f"no WebSocket there: {error!r}") from error
    raise LinkLost(reading.why)
