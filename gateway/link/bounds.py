"""How many frames of a WebSocket are dealt with at once, and how much may come before the peer has been let in (RFC
6455 section 5.2). Pure.

Owns the counting. A frame costs its reader 20 microseconds however small it is, and what came in one read is dealt with
at once: 64 KiB of empty frames would keep everybody else waiting for a fifth of a second."""

from __future__ import annotations

MAX_FRAMES = 64
"""`connect` and a little behind it, in pieces if need be, and pings."""
_LONGER = {126: 2, 127: 8}


class Frames:
    """Where frames begin in what comes, however it is cut."""

    def __init__(self) -> None:
        self._head = b""  # what has come of a frame whose length is not known yet; it has been counted
        self._inside = 0  # bytes that are missing of the frame being read

    def take(self, data: bytes, most: int) -> tuple[int, int]:
        """How many frames begin in as much of `data` as holds `most` of them at most, and how many bytes that is. What
        lies behind has not been looked at: it is for the next time."""
        known, at, count = len(self._head), self._inside, 0
        data, counted, self._head = self._head + data, known > 0, b""
        while at < len(data):
            if not counted:
                if count == most:
                    self._inside = 0
                    return count, at - known
                count += 1
            counted = False
            size = data[at + 1] & 0x7F if at + 1 < len(data) else 0
            begin = at + 2 + _LONGER.get(size, 0)
            if begin > len(data):
                self._head, self._inside = data[at:], 0
                return count, len(data) - known
            masked = data[at + 1] >> 7
            at = begin + 4 * masked + (int.from_bytes(data[at + 2 : begin], "big") if size >= 126 else size)
        self._inside = at - len(data)
        return count, len(data) - known


class Early:
    """Counts what comes behind the upgrade. `allowance`: bytes that may still come."""

    def __init__(self, allowance: int, frames: int = MAX_FRAMES) -> None:
        self._allowance = allowance
        self._left = frames
        self._frames = Frames()

    def admits(self, data: bytes) -> bool:
        """Whether this is still within both bounds."""
        self._allowance -= len(data)
        if self._allowance < 0:
            return False
        count, size = self._frames.take(data, self._left)
        self._left -= count
        return size == len(data)
