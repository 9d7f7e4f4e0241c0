"""Error codes, the exception that carries one, and why a connection ends.

`Refusal` is the only exception a handler raises on purpose: it becomes an error frame for the peer and a log line for
us. Whose fault it was is in the code: INVALID_REQUEST and FORBIDDEN are theirs, UNAVAILABLE is ours (and usually
retryable)."""

from __future__ import annotations

import enum

import msgspec


class ErrorCode(enum.StrEnum):
    """Top-level codes of the OpenClaw Gateway protocol (2026.9.6) that we send."""

    INVALID_REQUEST = "INVALID_REQUEST"
    FORBIDDEN = "FORBIDDEN"
    NOT_PAIRED = "NOT_PAIRED"
    UNAVAILABLE = "UNAVAILABLE"


class ErrorShape(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """An error as it travels."""

    code: str
    message: str
    details: dict[str, object] | None = None
    retryable: bool = False
    retry_after_ms: int | None = None


class Refusal(Exception):
    """A call that will not be done, with the sentence the caller reads."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        details: dict[str, object] | None = None,
        retryable: bool = False,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.shape = ErrorShape(code.value, message, details, retryable, retry_after_ms)

    def __str__(self) -> str:
        return f"{self.shape.code}: {self.shape.message}"


def invalid(message: str, **details: object) -> Refusal:
    """The caller asked for something that makes no sense here."""
    return Refusal(ErrorCode.INVALID_REQUEST, message, details=details or None)


def forbidden(message: str, **details: object) -> Refusal:
    """The caller may not do this; the message says what would allow it."""
    return Refusal(ErrorCode.FORBIDDEN, message, details=details or None)


def unavailable(message: str, retry_after_ms: int | None = None, **details: object) -> Refusal:
    """We cannot do this now; trying again later is sensible."""
    return Refusal(
        ErrorCode.UNAVAILABLE, message, details=details or None, retryable=True, retry_after_ms=retry_after_ms
    )


class CloseReason(enum.StrEnum):
    """Why we ended a connection. The peer may hear less; the log hears this word and the details."""

    HELLO_TIMEOUT = "hello timeout"
    HELLO_TOO_LARGE = "preauth payload too large"
    FRAME_TOO_LARGE = "payload too large"
    BAD_FRAME = "invalid request frame"
    NOT_CONNECT = "invalid handshake: first request must be connect"
    PROTOCOL_MISMATCH = "protocol mismatch"
    WRONG_TICKET = "wrong ticket"
    STRANGER = "not allowed on this socket"
    DEAD_PEER = "peer is gone"
    OTHER_SENDER = "frame sent by another process"
    SLOW_CONSUMER = "slow consumer"
    TOO_MANY_CONNECTIONS = "too many connections"
    WORKER_GONE = "its worker ended"
    REPLACED = "replaced by a newer connection"
    SHUTDOWN = "service restart"
    PEER_CLOSED = "closed by peer"
    INTERNAL = "internal error"
    # The outer door only.
    UNAUTHORIZED = "unauthorized"
    NOT_PAIRED = "pairing required"
    BAD_PROOF = "device signature invalid"
    BAD_ORIGIN = "origin not allowed"
    OURS = "started by an agent of this gateway"
    DEVICE_GONE = "client invalidated"
    AUTH_CHANGED = "gateway auth changed"
    TIMED_OUT = "heartbeat timeout"
    HASTY = "too many pending handshake frames"
    REPEATED = "repeated unauthorized calls"
    STARTING = "gateway starting"


CLOSE_CODES: dict[CloseReason, int] = {
    CloseReason.HELLO_TIMEOUT: 1000,
    CloseReason.PEER_CLOSED: 1000,
    CloseReason.PROTOCOL_MISMATCH: 1002,
    CloseReason.HELLO_TOO_LARGE: 1009,
    CloseReason.FRAME_TOO_LARGE: 1009,
    CloseReason.INTERNAL: 1011,
    CloseReason.SHUTDOWN: 1012,
    CloseReason.STARTING: 1013,
    CloseReason.DEVICE_GONE: 4001,
    CloseReason.AUTH_CHANGED: 4001,
}
"""The code of a WebSocket Close frame (RFC 6455 section 7.4, OpenClaw's use of it); everything else is POLICY_CLOSE."""
POLICY_CLOSE = 1008
TOLD_REASONS = frozenset(
    {
        CloseReason.UNAUTHORIZED, CloseReason.NOT_PAIRED, CloseReason.BAD_PROOF, CloseReason.BAD_ORIGIN,
        CloseReason.DEVICE_GONE, CloseReason.STARTING, CloseReason.BAD_FRAME, CloseReason.OURS,
    }
)  # fmt: skip
"""Ends whose details the peer may read in the Close frame; those of the others are for our log."""
