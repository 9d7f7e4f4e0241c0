"""The gateway's log: one JSON object per line on standard error, which the supervisor turns into the log.

Owns the format. A record's `extra` fields stand beside `ts`, `level`, `logger` and `msg`; a traceback is `exc`."""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LEVELS = {
    "silent": logging.CRITICAL + 10, "fatal": logging.CRITICAL, "error": logging.ERROR, "warn": logging.WARNING,
    "info": logging.INFO, "debug": logging.DEBUG, "trace": logging.DEBUG,
}  # fmt: skip
_NAMES = {logging.CRITICAL: "fatal", logging.WARNING: "warn"}


class JsonFormatter(logging.Formatter):
    """One record as one line of JSON; a field that JSON does not know is written as its repr."""

    def __init__(self) -> None:
        super().__init__()
        self._encoder = msgspec.json.Encoder(enc_hook=repr)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "ts": round(record.created * 1000),
            "level": _NAMES.get(record.levelno, record.levelname.lower()),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD and name not in line}
        if record.exc_info:
            line["exc"] = self.formatException(record.exc_info)
        try:
            return self._encoder.encode(line).decode()
        except UnicodeEncodeError:  # a lone surrogate, from a name that is not UTF-8
            clean = {name: repr(value) if isinstance(value, str) else value for name, value in line.items()}
            return self._encoder.encode(clean).decode()


def start_logging(level: str = "info") -> None:
    """Log to standard error from now on. `level` is a word of the configuration (`logging.level`)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.raiseExceptions = False  # a closed standard error must not turn into tracebacks on it
    set_level(level)


def set_level(level: str) -> None:
    """Change the level, after a reload for example."""
    logging.getLogger().setLevel(_LEVELS.get(level, logging.INFO))
