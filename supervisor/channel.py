"""One end of a control, lifeline or factory channel: typed messages, with descriptors, over a SOCK_SEQPACKET
socketpair.

`Channel` is the supervisor's Trio end; the module's two plain functions are the blocking end used by the zygote and by
a child that does not run Trio yet. A received descriptor is close-on-exec and belongs to the receiver."""

from __future__ import annotations

import contextlib
import os
import socket
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import trio

from supervisor.messages import MAX_MESSAGE_BYTES, BadMessage, Message, decode, encode

MAX_DESCRIPTORS = 16
"""More than any message carries (Take: three doors and a memfd)."""
MAX_QUEUED = 1024
"""Messages waiting for a peer that does not read. One more and the peer is taken for dead: `ChannelFull`."""


class ChannelFull(Exception):
    """The peer has not read for MAX_QUEUED messages; the caller gives it up."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a new channel, blocking, close-on-exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_blocking(sock: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send one message; the caller keeps its descriptors. Raises OSError (EPIPE when the peer is gone; EAGAIN on a
    non-blocking socket), BadMessage when it does not fit."""
    data = encode(message)
    if descriptors:
        socket.send_fds(sock, [data], list(descriptors))
    else:
        sock.send(data)


def receive_blocking(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors, now the caller's; None at the end. There are fewer of them than were sent
    when we may not have more. Raises BadMessage, OSError."""
    try:
        data, descriptors, flags = _receive(sock)
    except ConnectionResetError:
        return None
    try:
        if not data:
            close_all(descriptors)
            return None
        if flags & socket.MSG_TRUNC:
            raise BadMessage("longer than any message of ours")
        return decode(data), descriptors
    except BadMessage:
        close_all(descriptors)
        raise


def _receive(sock: socket.socket) -> tuple[bytes, list[int], int]:
    """recvmsg with close-on-exec descriptors; socket.recv_fds forgets its flags before Python 3.12."""
    room = socket.CMSG_SPACE(MAX_DESCRIPTORS * array("i").itemsize)
    data, ancillary, flags, _ = sock.recvmsg(MAX_MESSAGE_BYTES + 1, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return data, list(descriptors), flags


def close_all(descriptors: list[int]) -> None:
    """Close and forget every descriptor of a list."""
    while descriptors:
        os.close(descriptors.pop())


def _copies(descriptors: Sequence[int]) -> list[int]:
    """All or none. Raises OSError."""
    copies: list[int] = []
    try:
        for one in descriptors:
            copies.append(os.dup(one))
    except OSError:
        close_all(copies)
        raise
    return copies


class Channel:
    """The Trio end. One task at a time may receive; anybody may send without waiting.

    What the kernel does not take at once waits in a queue of MAX_QUEUED messages that drains while somebody is in
    `receive`, so a reader must hand long work to another task."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._outbox: deque[tuple[Message, list[int]]] = deque()
        self._lent: list[int] = []
        self._idle: trio.CancelScope | None = None

    @property
    def closed(self) -> bool:
        """Whether this end was closed; a peer's end shows only as None from `receive`."""
        return self._sock.fileno() == -1

    def send_nowait(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send or queue. The caller may close its descriptors at once. A peer that is gone, or a closed channel, is no
        error here: `receive` tells. Raises ChannelFull, BadMessage for a message that fits no datagram, OSError when
        there is no descriptor for a copy of one that has to wait."""
        if self.closed:
            return
        if not self._outbox and self._sent(message, descriptors):
            return
        if len(self._outbox) >= MAX_QUEUED:
            raise ChannelFull(f"{MAX_QUEUED} messages unread")
        encode(message)  # refuse now what could never be sent
        self._outbox.append((message, _copies(descriptors)))
        if self._idle is not None:
            self._idle.cancel()  # the receiving task must now watch for room as well

    async def receive(self) -> tuple[Message, list[int]] | None:
        """The next message and its descriptors; None once either end is closed.

        Take the descriptors you keep out of the list: what is left in it is closed by the next call. A peer that sends
        anything but a message is broken: the channel is closed and BadMessage raised."""
        close_all(self._lent)
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self.closed:
            try:
                received = receive_blocking(self._sock)
            except BlockingIOError:
                await self._ready()
                continue
            except BadMessage:
                self.close()
                raise
            if received is not None:
                self._lent = received[1]
            await trio.lowlevel.cancel_shielded_checkpoint()  # not cancellable: what was received must be delivered
            return received
        return None

    def close(self) -> None:
        """Close this end and everything queued; a task in `receive` gets None. Again is no error."""
        if self.closed:
            return
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
        close_all(self._lent)
        while self._outbox:
            close_all(self._outbox.popleft()[1])

    def _sent(self, message: Message, descriptors: Sequence[int]) -> bool:
        try:
            send_blocking(self._sock, message, descriptors)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            return True  # nobody is left to read it
        return True

    def _flush(self) -> None:
        while self._outbox and self._sent(*self._outbox[0]):
            close_all(self._outbox.popleft()[1])

    async def _ready(self) -> None:
        """Wait until there may be something to receive; flush the queue when there is room."""
        with trio.CancelScope() as self._idle:
            if not self._outbox:
                await self._wait(trio.lowlevel.wait_readable)
            else:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._wait, trio.lowlevel.wait_writable, nursery.cancel_scope)
                    nursery.start_soon(self._wait, trio.lowlevel.wait_readable, nursery.cancel_scope)
        self._idle = None
        self._flush()

    async def _wait(
        self, until: Callable[[socket.socket], Awaitable[None]], then: trio.CancelScope | None = None
    ) -> None:
        with contextlib.suppress(trio.ClosedResourceError):  # closed by ourselves meanwhile: receive() sees it
            await until(self._sock)
        if then is not None:
            then.cancel()
