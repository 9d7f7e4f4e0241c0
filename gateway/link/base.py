"""What a link is to the connection that uses it, whatever it is made of, and how it ends."""

from __future__ import annotations

from typing import Protocol

from gateway.protocol.errors import CloseReason


class LinkLost(Exception):
    """The other end is gone or the transport is broken."""


class PeerSilent(LinkLost):
    """The other end does not answer pings."""


class SlowConsumer(Exception):
    """The other end leaves too much unread."""


class OtherSender(Exception):
    """A frame came from another process than the one that connected: the descriptor was handed on."""


class Link(Protocol):
    """One end of a connection. `limit` bounds one incoming body, `max_buffered` what the peer may leave unread."""

    limit: int
    max_buffered: int

    @property
    def pending(self) -> int:
        """Bytes of a frame that has not arrived whole."""
        ...

    async def receive(self, most: int = ...) -> list[bytes]:
        """Bodies; an empty list at the end. Raises BadFrame, OtherSender, LinkLost."""
        ...

    def send_nowait(self, body: bytes) -> None:
        """Send a body, now or later. Raises SlowConsumer, LinkLost."""
        ...

    def farewell(self, reason: CloseReason, detail: str) -> None:
        """Queue the last words. Raises SlowConsumer, LinkLost."""
        ...

    async def flush(self) -> None:
        """Wait until everything has left. Raises LinkLost."""
        ...

    def close(self) -> None:
        """Close it; what has not been sent is lost."""
        ...
