"""Frames over one Unix stream socket, for both ends: cut what arrives into bodies, coalesce what leaves.

Owns the socket. Works on `trio.lowlevel` rather than a Trio stream, which costs twice as much per round trip. Sending
never waits: what the kernel does not take at once stays in an outbox of at most `max_buffered` bytes, emptied by a task
that exists only while there is something left; when the outbox is full, `SlowConsumer` is raised and the owner ends the
link."""

from __future__ import annotations

import os
import socket
import struct

import trio

from gateway.link.base import LinkLost, OtherSender, SlowConsumer
from gateway.protocol.errors import CloseReason
from gateway.protocol.frames import Event, Splitter, encode, pack
from gateway.protocol.limits import MAX_BUFFERED_BYTES, MAX_FRAMES_PER_WAKEUP

_READ_BYTES = 128 * 1024
# One for all links: it is filled and emptied without a checkpoint in between, so 10,000 idle links share it.
_scratch = bytearray(_READ_BYTES)
_view = memoryview(_scratch)

_UCRED = struct.Struct("iII")  # struct ucred: pid is signed, uid and gid are not (4294967294 must not read as -2)
_TRUNCATED = int(socket.MSG_CTRUNC)  # an enum's `&` costs as much as the frame's decoding
_CREDENTIALS_SPACE = socket.CMSG_SPACE(_UCRED.size)  # no room for a descriptor: the kernel then closes those sent along


class UnixLink:
    """One end of a connection. `limit` bounds one incoming body and may be raised. With `sender` given, every byte must
    come from that pid, by the kernel's word (SO_PASSCRED must have been set before the peer could send). The nursery
    runs the writer; cancelling it loses what has not been sent.

    `gather`: what is sent while the reader is at work on what it has received leaves when it comes back for more, in
    one piece. Only for a reader that always comes back, or flushes."""

    def __init__(
        self,
        sock: socket.socket,
        nursery: trio.Nursery,
        *,
        limit: int,
        max_buffered: int = MAX_BUFFERED_BYTES,
        sender: int | None = None,
        gather: bool = False,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._nursery = nursery
        self._splitter = Splitter(limit)
        self._sender = sender
        self.max_buffered = max_buffered
        self._outbox = bytearray()
        self._gathers = gather
        self._gathering = False
        self._flushing = False
        self._more = False  # whole frames may be left over from the last read

    @property
    def limit(self) -> int:
        """Bytes one incoming body may have."""
        return self._splitter.limit

    @limit.setter
    def limit(self, value: int) -> None:
        self._splitter.limit = value

    @property
    def pending(self) -> int:
        """Bytes of a frame that has not arrived whole."""
        return self._splitter.pending

    @property
    def unsent(self) -> int:
        """Bytes the kernel has not taken yet."""
        return len(self._outbox)

    async def receive(self, most: int = MAX_FRAMES_PER_WAKEUP) -> list[bytes]:
        """Between 1 and `most` bodies; an empty list at end-of-file. Raises BadFrame, OtherSender, LinkLost.

        A body is either returned or still here: nothing is lost when this is cancelled."""
        self._hand_out()
        if self._more:
            await trio.lowlevel.checkpoint()
            if bodies := self._cut(most):
                return bodies
        while True:
            try:
                await trio.lowlevel.wait_readable(self._sock)
                size = self._read()
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError) as error:
                raise LinkLost(str(error)) from error
            if not size:
                return []
            self._splitter.feed(_view[:size])
            if bodies := self._cut(most):
                return bodies

    def _cut(self, most: int) -> list[bytes]:
        bodies: list[bytes] = []
        next_body = self._splitter.next_body
        while len(bodies) < most and (body := next_body()) is not None:
            bodies.append(body)
        self._more = len(bodies) == most
        self._gathering = self._gathers and bool(bodies)
        return bodies

    def _read(self) -> int:
        if self._sender is None:
            return self._sock.recv_into(_scratch)
        size, ancillary, flags, _ = self._sock.recvmsg_into([_scratch], _CREDENTIALS_SPACE)
        if size and (flags & _TRUNCATED or _pid_in(ancillary) != self._sender):
            raise OtherSender(f"connected by pid {self._sender}, sent by pid {_pid_in(ancillary)}")
        return size

    def send_nowait(self, body: bytes) -> None:
        """Send a body, now as far as the kernel takes it, else later. Raises SlowConsumer, LinkLost.

        The bound counts what waited before: one body may exceed it, or a large answer could never be sent."""
        if self._gathering or self._outbox:
            if len(self._outbox) > self.max_buffered:
                raise SlowConsumer(f"{len(self._outbox)} bytes unread")
            self._outbox += pack(body)
            return
        frame = pack(body)
        sent = self._send(frame)
        if sent < len(frame):
            self._outbox += memoryview(frame)[sent:]
            self._start_flushing()

    def _hand_out(self) -> None:
        self._gathering = False
        if self._outbox and not self._flushing:
            self._send_outbox()
            if self._outbox:
                self._start_flushing()

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise LinkLost(str(error)) from error

    def _send_outbox(self) -> None:
        sent = self._send(self._outbox)
        del self._outbox[:sent]

    def _start_flushing(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._nursery.start_soon(self._flush_in_background)

    async def _flush_in_background(self) -> None:
        try:
            await self.flush()
        except LinkLost:
            # The reading side meets the same broken socket and ends the link with its reason.
            self._outbox.clear()
        finally:
            self._flushing = False

    async def flush(self) -> None:
        """Wait until the kernel has taken everything. Raises LinkLost."""
        while self._outbox:
            try:
                await trio.lowlevel.wait_writable(self._sock)
            except trio.ClosedResourceError as error:
                raise LinkLost(str(error)) from error
            self._send_outbox()

    def farewell(self, reason: CloseReason, detail: str) -> None:
        """Tell why it ends, in the event `closed`; the details are for our log. Raises SlowConsumer, LinkLost."""
        self.send_nowait(encode(Event("closed", {"reason": reason.value})))

    def close(self) -> None:
        """Close the socket. What has not been sent is lost; what the kernel has, the peer still reads."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


def _pid_in(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _UCRED.size:
            pid: int = _UCRED.unpack_from(data)[0]
            return pid
    return -1


MAX_PATH_BYTES = 107


async def connect_unix(path: str) -> socket.socket:
    """A socket connected to the listener at `path`, of any length. Raises OSError.

    A full backlog answers EAGAIN to a non-blocking connect rather than making it wait (unix(7)); bound the wait
    outside."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    pause = 0.001
    try:
        while True:
            try:
                _connect(sock, path)
            except BlockingIOError:
                await trio.sleep(pause)
                pause = min(2 * pause, 0.05)
            else:
                await trio.lowlevel.checkpoint()
                return sock
    except BaseException:
        sock.close()
        raise


def _connect(sock: socket.socket, path: str) -> None:
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        return sock.connect(path)
    directory, name = os.path.split(path)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)
