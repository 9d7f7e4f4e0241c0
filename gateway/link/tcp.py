"""A TCP connection as bytes, with TLS when a context is given: reading waits, writing never does.

Owns the socket. What the kernel does not take at once stays in an outbox of at most `max_buffered` bytes; a task that
exists only while there is something left empties it: unless it is corked, somebody always does. TLS runs on memory
buffers (ssl.SSLObject), so that encrypting is a plain function too and nobody's cancellation can cut a record in half.
It is a Trio stream, for what is built on one: HTTP and trio-websocket."""

from __future__ import annotations

import contextlib
import socket
import ssl

import trio

from gateway.link.base import LinkLost, SlowConsumer
from gateway.link.bounds import Early, Frames
from gateway.link.queued import unacknowledged
from gateway.link.records import read_records, words
from gateway.protocol.limits import MAX_FRAMES_PER_WAKEUP

READ_BYTES = 64 * 1024
MAX_CORKED_BYTES = 64 * 1024
"""What is collected at most before some of it leaves: more would only make the peer wait."""
MAX_BUFFERED_BYTES = 1024 * 1024
"""Until its owner raises it: enough for what is said before anybody is let in."""


class NotTls(trio.BrokenResourceError):
    """The peer began with an HTTP request in the clear; from now on the connection is a plain one, to say so."""


class Tcp(trio.abc.Stream):
    """One end of a TCP connection. `max_buffered` bounds what may wait to be sent, `early`, unless None, what may still
    arrive before the peer is let in; with `frames` few are read at once. Reading raises trio.BrokenResourceError when
    the connection breaks, as Trio's streams do; writing raises SlowConsumer and LinkLost, as our links do."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext | None = None,
        *,
        server_side: bool = True,
        server_hostname: str | None = None,
        early: Early | None = None,
    ) -> None:
        sock.setblocking(False)
        self.max_buffered = MAX_BUFFERED_BYTES
        self.early = early
        self.frames: Frames | None = None
        self.overrun = False
        self.came = self.written = 0  # bytes, ever
        self._sock = sock
        self._nursery: trio.Nursery | None = None
        self._replay = b""
        self._left = b""  # whole frames and what follows them, of the last read
        self._outbox = bytearray()
        self._flushing = False
        self._turn = trio.Lock()
        self._corked = False
        self._gathers = False
        self._sealed = False
        self._tls: ssl.SSLObject | None = None
        if context is not None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS state, or None on a plain connection."""
        return self._tls

    @property
    def unsent(self) -> int:
        """Bytes that wait for the kernel."""
        return len(self._outbox)

    @property
    def waiting(self) -> int:
        """Bytes the peer's kernel has not taken: ours has them, or they are unsent."""
        return len(self._outbox) + unacknowledged(self._sock)

    def attach(self, nursery: trio.Nursery, *, gather: bool = False) -> None:
        """From now on what cannot be sent at once is sent by a task in `nursery`, and `send_all` waits no more.

        `gather`: what is written while the reader is at work on what it has read leaves when it comes back for more, so
        that many small answers are one packet. Only for a reader that always comes back."""
        self._nursery = nursery
        self._gathers = gather
        self._start_flushing()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def handshake(self) -> None:
        """Agree on TLS; nothing to do on a plain connection. Raises NotTls, trio.BrokenResourceError; bound it
        outside."""
        while self._tls is not None:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._push_records()
                await self._feed()
            except ssl.SSLError as error:
                if error.reason == "HTTP_REQUEST":
                    self._tls = None
                    raise NotTls("an HTTP request in the clear") from error
                await self._push_records()  # the alert that tells the peer what was wrong
                raise trio.BrokenResourceError(words(error)) from error
            else:
                return await self._push_records()

    def unread(self, data: bytes) -> None:
        """Have this read first: somebody has looked ahead."""
        self._replay = data + self._replay

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, b"" at the end. Raises trio.BrokenResourceError, trio.ClosedResourceError."""
        size = READ_BYTES if max_bytes is None else max_bytes
        try:
            if self._gathers:
                self.uncork()
        except LinkLost as error:
            raise trio.BrokenResourceError(str(error)) from error
        if self._replay:
            await trio.lowlevel.checkpoint_if_cancelled()
            data, self._replay = self._replay[:size], self._replay[size:]
            await trio.lowlevel.cancel_shielded_checkpoint()  # from here on a cancellation would lose it
            return data
        if self._left:
            await trio.lowlevel.checkpoint()  # a cancellation leaves it where it is
            data = self._left
        else:
            data = await (self._receive(size) if self._tls is None else self._decrypt(self._tls, size))
            self.came += len(data)
            if self.early is not None and not self.early.admits(data):
                self.overrun = True
                return b""
        if self.frames is not None:
            _, taken = self.frames.take(data, MAX_FRAMES_PER_WAKEUP)
            data, self._left = data[:taken], data[taken:]
        if self._gathers and data:
            self.cork()
        return data

    async def _receive(self, size: int) -> bytes:
        while self._sock.fileno() >= 0:
            try:
                await trio.lowlevel.wait_readable(self._sock)
                return self._sock.recv(size)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
        raise trio.ClosedResourceError("the connection was closed here")

    async def _decrypt(self, tls: ssl.SSLObject, size: int) -> bytes:
        waited = False
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                data = read_records(tls, self._incoming, size)
            except ssl.SSLWantReadError:
                self._answer_records()
                await self._feed()
                waited = True
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""  # also without TLS's own goodbye: frames and HTTP say themselves where they end
            except ssl.SSLError as error:
                raise trio.BrokenResourceError(words(error)) from error
            else:
                if not waited:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                return data

    async def _feed(self) -> None:
        if data := await self._receive(READ_BYTES):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _push_records(self) -> None:
        """Send what TLS has to say of the handshake; nobody else writes yet."""
        self._answer_records()
        try:
            await self.flush()
        except LinkLost as error:
            raise trio.BrokenResourceError(str(error)) from error

    def _answer_records(self) -> None:
        """Send what TLS itself has to say, such as the answer to a key update; never waits, because whoever writes may
        be waiting for the socket already."""
        if data := self._outgoing.read():
            try:
                self._put(data)
            except (LinkLost, SlowConsumer) as error:
                raise trio.BrokenResourceError(str(error)) from error

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send, now as far as the kernel takes it, else later. Raises SlowConsumer, LinkLost.

        The bound counts what waited before: one piece may exceed it, or a large answer could never be sent."""
        if self._sealed:
            return
        if self._tls is not None:
            try:
                self._tls.write(data)
            except ssl.SSLError as error:
                raise LinkLost(words(error)) from error
            data = self._outgoing.read()
        self._put(data)

    def _put(self, data: bytes) -> None:
        self.written += len(data)
        if self._corked or self._outbox:
            if len(self._outbox) > self.max_buffered:
                raise SlowConsumer(f"{len(self._outbox)} bytes unread")
            self._outbox += data
            if not self._corked or len(self._outbox) > MAX_CORKED_BYTES:
                self._push()
            return
        sent = self._send(data)
        if sent < len(data):
            self._outbox += memoryview(data)[sent:]
            self._start_flushing()

    def cork(self) -> None:
        """Collect what is written until `uncork`, to send it in one piece."""
        self._corked = True

    def uncork(self) -> None:
        """Send what was collected. Raises LinkLost."""
        self._corked = False
        self._push()

    def _push(self) -> None:
        if self._outbox and not self._flushing and not self._turn.locked():
            del self._outbox[: self._send(self._outbox)]
            self._start_flushing()

    def seal(self) -> None:
        """Write nothing more: what is written from now on is dropped."""
        self._sealed = True

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise LinkLost(str(error)) from error

    def _start_flushing(self) -> None:
        if self._outbox and not self._flushing and self._nursery is not None:
            self._flushing = True
            self._nursery.start_soon(self._flush_in_background)

    async def _flush_in_background(self) -> None:
        try:
            with contextlib.suppress(LinkLost):  # the reading side meets it too, and ends the link with its reason
                await self.flush()
        finally:
            self._flushing = False

    async def flush(self) -> None:
        """Wait until the kernel has taken everything. Raises LinkLost."""
        async with self._turn:  # only one may wait for a socket (trio.BusyResourceError)
            while self._outbox:
                if self._sock.fileno() < 0:
                    raise LinkLost("the connection was closed here")
                try:
                    await trio.lowlevel.wait_writable(self._sock)
                except (OSError, trio.ClosedResourceError) as error:
                    raise LinkLost(str(error)) from error
                del self._outbox[: self._send(self._outbox)]

    # --- as a Trio stream ---------------------------------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write; before `attach`, wait until it has left. Raises trio.BrokenResourceError."""
        try:
            self.write(bytes(data))
            if self._nursery is None:
                await self.flush()
        except (LinkLost, SlowConsumer) as error:
            raise trio.BrokenResourceError(str(error)) from error
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Nothing here blocks."""
        await trio.lowlevel.checkpoint()

    def half_close(self) -> None:
        """Say that we send nothing more, to TLS and to TCP; the peer may still talk. What waits to be sent is lost, so
        flush first."""
        self.seal()
        if self._tls is not None and not self._outbox:
            with contextlib.suppress(ssl.SSLError):  # it wants to read the peer's goodbye, which may never come
                self._tls.unwrap()
            with contextlib.suppress(LinkLost):
                self._send(self._outgoing.read())  # where the kernel takes it; nothing waits for it
        self._outbox.clear()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket. What has not been sent is lost; what the kernel has, the peer still reads."""
        self._outbox.clear()
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    async def aclose(self) -> None:
        """The same, for those who hold a stream; what was being collected still leaves, as far as the kernel takes it:
        it may be the answer to a Close frame."""
        with contextlib.suppress(LinkLost):
            self.uncork()
        self.close()
        await trio.lowlevel.checkpoint()
