"""Connecting again: which ends are worth another try, how long to wait, and a loop that does both.

Owns OpenClaw's rule (2026.9.6): 1 s, doubled up to 30 s, at least what the gateway asked for; none at all where only a
person can change the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import trio

from gateway.client.access import CannotConnect
from gateway.client.calls import CallFailed, Client, ConnectionLost

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 30.0
STEADY_SECONDS = 60.0
"""A connection that lived this long was a good one: the next pause is the first again."""
PAUSING = frozenset(
    {
        "AUTH_REQUIRED", "AUTH_UNAUTHORIZED", "AUTH_TOKEN_MISSING", "AUTH_TOKEN_MISMATCH", "AUTH_TOKEN_NOT_CONFIGURED",
        "AUTH_PASSWORD_MISSING", "AUTH_PASSWORD_MISMATCH", "AUTH_PASSWORD_NOT_CONFIGURED",
        "AUTH_BOOTSTRAP_TOKEN_INVALID", "AUTH_DEVICE_TOKEN_MISMATCH", "AUTH_SCOPE_MISMATCH",
        "AUTH_IDENTITY_HEADER_REQUIRED", "AUTH_VERIFIED_USER_REQUIRED", "AUTH_RATE_LIMITED", "PAIRING_REQUIRED",
        "DEVICE_IDENTITY_REQUIRED", "CONTROL_UI_DEVICE_IDENTITY_REQUIRED", "PROTOCOL_MISMATCH",
        "CLIENT_VERSION_MISMATCH",
    }
)  # fmt: skip
"""`details.code` of refusals that trying again does not change."""
_HOPELESS = frozenset({"unknown-host", "no-tls", "tls-there", "tls", "certificate-changed", "not-a-gateway", "refused"})

T = TypeVar("T")


def pause_after(error: BaseException, tries: int) -> float | None:
    """Seconds to wait before connecting again after the `tries`th failure in a row (from 1); None: do not."""
    pause = min(LONGEST_SECONDS, FIRST_SECONDS * float(2 ** (min(tries, 10) - 1)))
    match error:
        case CallFailed(shape=shape):
            details = shape.details or {}
            waits = details.get("pauseReconnect") is False or details.get("recommendedNextStep") == "wait_then_retry"
            pausing = details.get("code") in PAUSING and not (waits and details.get("code") == "PAIRING_REQUIRED")
            if pausing or (shape.code in ("INVALID_REQUEST", "FORBIDDEN", "NOT_PAIRED") and not waits):
                return None
            return max(pause, (shape.retry_after_ms or 0) / 1000)
        case CannotConnect():
            return None if error.kind in _HOPELESS else max(pause, error.wait or 0.0)
        case ConnectionLost() | OSError() | trio.TooSlowError():
            return pause
    return None


async def reconnecting(
    connect: Callable[[], AbstractAsyncContextManager[Client]], use: Callable[[Client], Awaitable[T]]
) -> T:
    """What `use` returns, given one connection after another until it returns: `connect` makes each, for example
    `partial(open_client, "wss://box:18789")`. Raises what `use` raises, except for lost connections, and what ends a
    connect for good."""
    tries = 0
    while True:
        begun = trio.current_time()
        greeted = False
        try:
            async with connect() as client:
                greeted, begun = True, trio.current_time()
                return await use(client)
        except (CallFailed, CannotConnect, ConnectionLost, OSError, trio.TooSlowError) as error:
            if greeted and not isinstance(error, ConnectionLost):
                raise
            steady = greeted and trio.current_time() - begun >= STEADY_SECONDS
            tries = 1 if steady else tries + 1
            pause = pause_after(error, tries)
            if pause is None:
                raise
        await trio.sleep(pause)
