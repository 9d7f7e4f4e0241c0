"""Where log records go: stderr, and a file that is rotated. Nobody who logs ever waits.

Owns: the log. Each sink has a thread of its own and a queue of QUEUE records; when it is full (a terminal that was
stopped, a dead disk) records are dropped, counted, and the count is told when the sink moves again. A full disk costs
the file's records and nothing else."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

QUEUE = 2000
LEVELS = {
    "trace": 5, "debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50, "silent": 60,
}  # fmt: skip
CLOSE_SECONDS = 1.0

Record = dict[str, Any]


def now_ms() -> int:
    """Now, in milliseconds since 1970: the `ts` of every record."""
    return round(time.time() * 1000)


def as_json(record: Record) -> str:
    """One line, for programs."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), default=str)


def printable(text: str) -> str:
    """Without anything a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in text)


def as_text(record: Record) -> str:
    """One line, for a person at a terminal."""
    told = {k: v for k, v in record.items() if k not in ("ts", "level", "logger", "msg")}
    clock = time.strftime("%H:%M:%S", time.localtime(record["ts"] / 1000))
    details = " ".join(f"{name}={value}" for name, value in told.items() if value not in (None, ""))
    line = f"{clock} {record['level']:<7} {record['logger']}: {record['msg']}"
    return "\n".join(printable(part) for part in (f"{line}  [{details}]" if details else line).split("\n"))


class Sink:
    """One place records go to, written by one thread. `write_line` gets a line without its end; an OSError from it
    loses that record only."""

    def __init__(self, name: str, write_line: Callable[[str], None], render: Callable[[Record], str]) -> None:
        self._write_line, self._render = write_line, render
        self._queue: deque[Record] = deque()
        self._wake = threading.Condition()
        self._dropped = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"log-{name}", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> None:
        """Queue one record, or count it as dropped. Never waits for the sink."""
        with self._wake:
            if len(self._queue) >= QUEUE:
                self._dropped += 1
                return
            self._queue.append(record)
            self._wake.notify()

    def close(self) -> None:
        """Write what is queued, for at most CLOSE_SECONDS: a stuck terminal does not hold up an exit."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(CLOSE_SECONDS)

    def _next(self) -> Record | None:
        with self._wake:
            while not self._queue and not self._closing:
                self._wake.wait()
            return self._queue.popleft() if self._queue else None

    def _run(self) -> None:
        while (record := self._next()) is not None:
            with self._wake:
                dropped, self._dropped = self._dropped, 0
            if dropped:
                text = f"{dropped} log records were dropped here: this output could not take them"
                self._emit({"ts": now_ms(), "level": "warn", "logger": "supervisor.log", "msg": text}, dropped)
            self._emit(record, 1)

    def _emit(self, record: Record, lost: int) -> None:
        """Write one; when that fails, `lost` records more have been dropped."""
        try:
            self._write_line(self._render(record))
        except OSError:
            with self._wake:
                self._dropped += lost


class RotatingFile:
    """A file of at most `max_bytes`; then it becomes `.1`, `.1` becomes `.2`, and `backups` of them are kept. Used by
    one thread."""

    def __init__(self, path: str, max_bytes: int, backups: int) -> None:
        self._path, self._max_bytes, self._backups = path, max_bytes, backups
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._descriptor = self._open()
        self._cut = False

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def write_line(self, line: str) -> None:
        """Append one line. Raises OSError when the disk is full; what was written of the line is ended by the next
        one."""
        data = line.encode(errors="backslashreplace") + b"\n"
        if self._cut:
            data = b"\n" + data
        size = os.fstat(self._descriptor).st_size
        if size and size + len(data) > self._max_bytes:
            self._rotate()
        written = os.write(self._descriptor, data)
        self._cut = written < len(data)
        if self._cut:
            raise OSError("the disk took a part of the line only")

    def _rotate(self) -> None:
        for number in range(self._backups, 0, -1):
            older = self._path if number == 1 else f"{self._path}.{number - 1}"
            if os.path.exists(older):
                os.replace(older, f"{self._path}.{number}")
        if self._backups == 0:
            os.truncate(self._path, 0)
        fresh = self._open()  # first: a closed number would be somebody else's next, and this line written there
        os.close(self._descriptor)
        self._descriptor = fresh

    def close(self) -> None:
        os.close(self._descriptor)


def _stderr_line(line: str) -> None:
    data = memoryview(line.encode(errors="backslashreplace") + b"\n")
    while data:
        data = data[os.write(2, data) :]


class Log:
    """What everybody in the supervisor logs through. `level` may be changed at any time; a context manager that flushes
    at the end."""

    def __init__(self, level: str = "info", *, stderr: bool = True) -> None:
        self.level = level
        self.path: str | None = None
        self._file: RotatingFile | None = None
        self._sinks: list[Sink] = []
        if stderr:
            self._sinks.append(Sink("stderr", _stderr_line, as_text if sys.stderr.isatty() else as_json))

    def open_file(self, path: str, max_bytes: int, backups: int) -> None:
        """Write to this file too. Raises OSError when it cannot be opened."""
        self._file = RotatingFile(path, max_bytes, backups)
        self.path = path
        self._sinks.append(Sink("file", self._file.write_line, as_json))

    def write(self, level: str, logger: str, msg: str, /, **fields: Any) -> None:
        """One record, unless its level is below ours. A field may have any name: agents choose those of theirs."""
        if LEVELS.get(level, 20) >= LEVELS.get(self.level, 20):
            self.put({"ts": now_ms(), "level": level, "logger": logger, "msg": msg, **fields})

    def put(self, record: Record) -> None:
        """One record as it is."""
        for sink in self._sinks:
            sink.put(record)

    def info(self, msg: str, **fields: Any) -> None:
        self.write("info", "supervisor", msg, **fields)

    def warning(self, msg: str, **fields: Any) -> None:
        self.write("warn", "supervisor", msg, **fields)

    def error(self, msg: str, **fields: Any) -> None:
        self.write("error", "supervisor", msg, **fields)

    def last_words(self, text: str) -> None:
        """Why the process ends before it began: plain on stderr, for whoever started it, and in the file when there is
        one."""
        if self._file is not None:
            told = {"ts": now_ms(), "level": "error", "logger": "supervisor", "msg": text}
            self._sinks[-1].put(told)
        sys.stderr.write(f"{'' if text.startswith('peergate: ') else 'peergate: '}{text}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Flush, bounded in time."""
        for sink in self._sinks:
            sink.close()
        self._sinks.clear()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
