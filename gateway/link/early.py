"""How much a peer may send before it has been let in: bytes, and frames of a WebSocket (RFC 6455 section 5.2). Pure.

Owns the count. A frame costs its reader 20 microseconds however small it is, and what came in one read is dealt with at
once: 64 KiB of empty frames from somebody nobody knows would keep everybody else waiting for a fifth of a second."""

from __future__ import annotations

MAX_FRAMES = 64
"""`connect` and a little behind it, in pieces if need be, and pings."""
_LONGER = {126: 2, 127: 8}


class Early:
    """Counts what comes behind the upgrade. `allowance`: bytes that may still come."""

    def __init__(self, allowance: int, frames: int = MAX_FRAMES) -> None:
        self._allowance = allowance
        self._frames = frames
        self._head = b""
        self._ahead = 0  # bytes of the frame that is being read

    def admits(self, data: bytes) -> bool:
        """Whether this is still within both bounds."""
        self._allowance -= len(data)
        return self._allowance >= 0 and self._count(self._head + data)

    def _count(self, data: bytes) -> bool:
        at = self._ahead
        while at + 2 <= len(data):
            mask, size = data[at + 1] >> 7, data[at + 1] & 0x7F
            begin = at + 2 + _LONGER.get(size, 0)
            if begin > len(data):
                break
            self._frames -= 1
            if self._frames < 0:
                return False
            at = begin + 4 * mask + (int.from_bytes(data[at + 2 : begin], "big") if size >= 126 else size)
        self._head, self._ahead = data[at:], max(0, at - len(data))
        return True
