"""Accepting from a listening socket that belongs to somebody else and outlives us, whatever accept(2) says.

Owns the loop and its bound on connections that nobody has been let in by. It pauses when descriptors run out or the
bound is reached; the backlog keeps who is waiting."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable

import trio

_log = logging.getLogger("gateway.listen")

# accept(2): the connection that was waiting is gone; the next one is as good as any.
_PASSING = {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EINTR, errno.ETIMEDOUT, errno.ENETDOWN}
_PASSING |= {errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENONET, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
PAUSE_SECONDS = 0.05
QUIET_SECONDS = 10.0
"""The same trouble is logged once in this time."""


class Acceptor:
    """One listening socket; `most` connections of it may be unsettled at once."""

    def __init__(self, name: str, listener: socket.socket, most: int) -> None:
        self._name = name
        self._listener = listener
        self._room = trio.Semaphore(most)
        self._trouble_at = -QUIET_SECONDS
        listener.setblocking(False)

    async def serve(
        self,
        conversations: trio.Nursery,
        attend: Callable[[socket.socket, Callable[[], None]], Awaitable[None]],
    ) -> None:
        """Accept for ever. `attend` has the socket, which is closed when it returns, and calls what it is given once
        the connection is settled; it runs in `conversations`, and what it raises is logged and ends nobody else."""
        while True:
            await self._room.acquire()
            try:
                sock = await self._accept()
            except BaseException:
                self._room.release()
                raise
            conversations.start_soon(self._attend, sock, attend)

    async def _accept(self) -> socket.socket:
        while True:
            try:
                return self._listener.accept()[0]
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._listener)
            except OSError as error:
                if error.errno not in _PASSING:
                    await self._pause(error)

    async def _pause(self, error: OSError) -> None:
        now = trio.current_time()
        if now - self._trouble_at >= QUIET_SECONDS:
            self._trouble_at = now
            _log.error("cannot accept; trying again", extra={"door": self._name, "error": str(error)})
        await trio.sleep(PAUSE_SECONDS)

    async def _attend(
        self, sock: socket.socket, attend: Callable[[socket.socket, Callable[[], None]], Awaitable[None]]
    ) -> None:
        waiting = True

        def settled() -> None:
            nonlocal waiting
            if waiting:
                waiting = False
                self._room.release()

        try:
            await attend(sock, settled)
        except Exception:
            # The one place where a fault of ours in one conversation is kept from the others.
            _log.exception("a conversation failed", extra={"door": self._name})
        finally:
            sock.close()
            settled()
