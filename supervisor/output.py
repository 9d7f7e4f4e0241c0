"""What children print, turned into log records. A child never waits for the log: its pipe is always read.

Owns: the throttle and the reading of output pipes. `Throttle` and `Lines` are pure (time is an argument);
`serve_output` is the task."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from supervisor.logfile import LEVELS, now_ms

MAX_LINE_BYTES = 8192
READ_BYTES = 65536
TELL_SECONDS = 1.0
"""How often dropped lines are told while they are being dropped."""


@dataclass(slots=True)
class Throttle:
    """Two token buckets, each holding one second's worth: lines and bytes. What does not fit is counted until
    `take_dropped`."""

    lines_per_second: float
    bytes_per_second: float
    _lines: float = field(init=False)
    _bytes: float = field(init=False)
    _at: float | None = None
    dropped_lines: int = 0
    dropped_bytes: int = 0

    def __post_init__(self) -> None:
        self._lines, self._bytes = self.lines_per_second, self.bytes_per_second

    def allows(self, size: int, now: float) -> bool:
        """Whether a line of `size` bytes may pass now; counts it if not. A line larger than a full bucket passes when
        the bucket is full."""
        if self._at is not None and now > self._at:
            passed = now - self._at
            self._lines = min(self.lines_per_second, self._lines + passed * self.lines_per_second)
            self._bytes = min(self.bytes_per_second, self._bytes + passed * self.bytes_per_second)
        self._at = now
        if self._lines < 1 or self._bytes < min(size, self.bytes_per_second):
            self.drop(1, size)
            return False
        self._lines -= 1
        self._bytes -= size
        return True

    def drop(self, lines: int, size: int) -> None:
        """Count lines that were thrown away unseen."""
        self.dropped_lines += lines
        self.dropped_bytes += size

    def take_dropped(self) -> tuple[int, int]:
        """Lines and bytes dropped since the last call."""
        counts = self.dropped_lines, self.dropped_bytes
        self.dropped_lines = self.dropped_bytes = 0
        return counts


@dataclass(slots=True)
class Lines:
    """Bytes to lines of at most MAX_LINE_BYTES; the rest of a longer one is thrown away and counted in its text."""

    _rest: bytearray = field(default_factory=bytearray)
    _cut: int = 0

    def feed(self, data: bytes) -> list[tuple[bytes, int]]:
        """The lines that are complete now, each with how many of its bytes were cut off."""
        lines = []
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._grow(end)
            lines.append(self._take())
        self._grow(rest)
        return lines

    def end(self) -> list[tuple[bytes, int]]:
        """The last line, when it has no end."""
        return [self._take()] if self._rest or self._cut else []

    def _grow(self, part: bytes) -> None:
        room = MAX_LINE_BYTES - len(self._rest)
        self._rest += part[:room]
        self._cut += max(0, len(part) - room)

    def _take(self) -> tuple[bytes, int]:
        line = bytes(self._rest).rstrip(b"\r"), self._cut
        self._rest.clear()
        self._cut = 0
        return line


def text_of(line: bytes, cut: int) -> str:
    r"""A line as text: what is not UTF-8 becomes \xNN, and a cut line says so."""
    text = line.decode("utf-8", errors="backslashreplace")
    return f"{text} [{cut} bytes cut]" if cut else text


def record_of(text: str) -> dict[str, Any] | None:
    """A record printed as one JSON object with `level` and `msg`; None when the line is something else. Whoever takes
    it from a worker says itself who that is: an agent that prints such a line must not speak as somebody else."""
    if not text.startswith("{"):
        return None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not all(isinstance(record.get(name), str) for name in ("level", "msg")):
        return None
    return record if record["level"] in LEVELS else None


def timestamp(record: dict[str, Any]) -> float:
    """When a record says it was made, in milliseconds; now, when it does not say it that way."""
    said = record.get("ts")
    return said if isinstance(said, int | float) and 0 <= said < 1e14 else now_ms()


async def serve_output(
    descriptor: int,
    throttle: Throttle,
    emit: Callable[[str], None],
    tell_dropped: Callable[[int, int], None],
    count: Callable[[int], None] = lambda _size: None,
) -> None:
    """Read a child's pipe to its end and emit its lines; tells what was dropped (lines, bytes) at most once per
    TELL_SECONDS, and at the end. `count` hears of every byte. Owns and closes the descriptor. The pipe ends with the
    last process that holds it, so the caller cancels when the tree is known to be gone."""
    os.set_blocking(descriptor, False)
    lines, told = Lines(), trio.current_time()

    def pass_on(complete: list[tuple[bytes, int]]) -> None:
        now = trio.current_time()
        for line, cut in complete:
            if throttle.allows(len(line), now):
                emit(text_of(line, cut))
            elif cut:
                throttle.drop(0, cut)

    try:
        while True:
            try:
                data = os.read(descriptor, READ_BYTES)
            except BlockingIOError:
                with trio.move_on_after(TELL_SECONDS if throttle.dropped_lines else trio.current_time() + 1e9):
                    await trio.lowlevel.wait_readable(descriptor)
            except OSError as error:
                if error.errno != errno.EIO:  # the reading end of a terminal whose other end is closed
                    raise
                break
            else:
                if not data:
                    break
                count(len(data))
                pass_on(lines.feed(data))
                await trio.lowlevel.checkpoint()  # a child that prints without end shares the loop
            if throttle.dropped_lines and trio.current_time() - told >= TELL_SECONDS:
                told = trio.current_time()
                tell_dropped(*throttle.take_dropped())
    finally:
        pass_on(lines.end())
        if throttle.dropped_lines:
            tell_dropped(*throttle.take_dropped())
        os.close(descriptor)
