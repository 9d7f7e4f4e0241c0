"""The Unix doors: accepting, and finding out who is there.

Owns the accept loop of one door. Listening sockets belong to the supervisor and outlive us: they are never shut down,
only accepted from, and their O_NONBLOCK is shared with it. Each door has its own loop and its own bound on peers that
have not been greeted, so that a crowd before one door keeps nobody from another. A loop pauses when descriptors run
out; the backlog keeps who is waiting."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable

import trio

from gateway.auth.decide import decide
from gateway.auth.facts import PeerFacts, Policy
from gateway.auth.peercred import prepare_accepted, prepare_listener, read_peer
from gateway.auth.principal import Verdict
from gateway.protocol.limits import MAX_UNGREETED_PER_DOOR
from supervisor.messages import Identity

_log = logging.getLogger("gateway.listen")

Whois = Callable[[int, int | None], Awaitable[Identity]]
Converse = Callable[[socket.socket, str, PeerFacts, Verdict, Callable[[], None]], Awaitable[None]]
"""Socket, door, facts, verdict, and what to call once the peer has been greeted. Closes the socket."""

# accept(2): the connection that was waiting is gone; the next one is as good as any.
_PASSING = {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EINTR, errno.ETIMEDOUT}
PAUSE_SECONDS = 0.05
QUIET_SECONDS = 10.0
"""The same trouble is logged once in this time."""


class UnixDoor:
    """One door. `policy` is asked anew for every peer, because a reload replaces it."""

    def __init__(
        self, name: str, listener: socket.socket, *, whois: Whois, policy: Callable[[], Policy], converse: Converse
    ) -> None:
        self.name = name
        self._listener = listener
        self._whois = whois
        self._policy = policy
        self._converse = converse
        self._ungreeted = trio.Semaphore(MAX_UNGREETED_PER_DOOR)
        self._trouble_at = -QUIET_SECONDS
        prepare_listener(listener)
        listener.setblocking(False)

    async def serve(self, conversations: trio.Nursery) -> None:
        """Accept for ever; each peer gets a task in `conversations`, which outlives this loop when we retire."""
        while True:
            await self._ungreeted.acquire()
            try:
                sock = await self._accept()
            except BaseException:
                self._ungreeted.release()
                raise
            conversations.start_soon(self._attend, sock)

    async def _accept(self) -> socket.socket:
        while True:
            try:
                sock = self._listener.accept()[0]
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._listener)
            except OSError as error:
                if error.errno not in _PASSING:
                    await self._pause(error)
            else:
                # At once: what is sent between the accept and this would carry no sender.
                prepare_accepted(sock)
                return sock

    async def _pause(self, error: OSError) -> None:
        now = trio.current_time()
        if now - self._trouble_at >= QUIET_SECONDS:
            self._trouble_at = now
            _log.error("cannot accept; trying again", extra={"door": self.name, "error": str(error)})
        await trio.sleep(PAUSE_SECONDS)

    async def _attend(self, sock: socket.socket) -> None:
        release = _Once(self._ungreeted.release)
        try:
            sock.setblocking(False)
            facts, verdict = await self._identify(sock)
            await self._converse(sock, self.name, facts, verdict, release)
        except Exception:
            # The one place where a fault of ours in one conversation is kept from the others.
            _log.exception("a conversation failed", extra={"door": self.name})
        finally:
            sock.close()
            release()

    async def _identify(self, sock: socket.socket) -> tuple[PeerFacts, Verdict]:
        facts = read_peer(sock)
        try:
            # A process of another PID namespace cannot be a descendant; the supervisor could not look it up either.
            asks = facts.pid > 0 and not facts.dead
            identity = await self._whois(facts.pid, facts.pidfd) if asks else Identity(0, "none")
        finally:
            if facts.pidfd is not None:
                os.close(facts.pidfd)
        return facts, decide(self.name, facts, identity, self._policy())


class _Once:
    """Calls a function the first time it is called itself."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()
