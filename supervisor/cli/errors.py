"""The errors a command expects, each with the sentence a person reads and the exit code a program reads.

Whoever meets the trouble raises one of these; only `supervisor.cli.main` prints them. Anything else is a mistake of
ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DONE = 0
FAILED = 1
USAGE = 2
NOT_RUNNING = 69  # EX_UNAVAILABLE
NOT_ALLOWED = 77  # EX_NOPERM
BAD_CONFIG = 78  # EX_CONFIG
INTERRUPTED = 130  # what a shell says of Ctrl-C


class CliError(Exception):
    """Refused or failed. `code` is the word programs get with --json, `fix` what the person may do about it. `key`: the
    idempotency key of a call that was not answered and may have been carried out all the same; `method`: what the
    gateway was asked for, by its name on the wire."""

    exit_code = FAILED
    code = "FAILED"
    key: str | None = None
    method: str | None = None

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class NotRunning(CliError):
    """There is no system here, or it does not answer."""

    exit_code = NOT_RUNNING
    code = "NOT_RUNNING"


class Unanswered(NotRunning):
    """Somebody holds the socket, but no gateway answered in time."""

    code = "NO_ANSWER"


class ConnectionLost(NotRunning):
    """The gateway went away before it had answered; the call may or may not have been carried out."""

    code = "CONNECTION_LOST"


class NotAllowed(CliError):
    """This uid may not, or what stands at the place of the socket cannot be trusted."""

    exit_code = NOT_ALLOWED
    code = "NOT_ALLOWED"


class UidRefused(NotAllowed):
    """The kernel does not let this process in."""


class HelloRefused(NotAllowed):
    """A door answered `connect` with a refusal."""

    code = "REFUSED_AT_THE_DOOR"


class BadConfig(CliError):
    """The configuration cannot be used."""

    exit_code = BAD_CONFIG
    code = "BAD_CONFIG"


class Usage(CliError):
    """The command line makes no sense."""

    exit_code = USAGE
    code = "USAGE"


class CallRefused(CliError):
    """The gateway answered with an error. `details` is what it said beside the sentence, `method` what was asked: a
    person typed another word, so the sentence begins without it."""

    def __init__(self, method: str, shape: Mapping[str, Any]) -> None:
        super().__init__(str(shape.get("message") or f"{method} was refused without a reason"))
        self.method = method
        self.code = str(shape.get("code") or "FAILED")
        details = shape.get("details")
        self.details: Mapping[str, Any] = details if isinstance(details, Mapping) else {}
        if self.code in ("FORBIDDEN", "NOT_PAIRED"):
            self.exit_code = NOT_ALLOWED
