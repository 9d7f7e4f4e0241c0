"""Connecting again: every kind of end, whether it is worth another try, and how long the wait is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from gateway.client import CallFailed, CannotConnect, Client, ConnectionLost, pause_after, reconnecting
from gateway.client.again import PAUSING
from gateway.protocol.errors import ErrorShape


def refused(code: str, detail: str = "", **more: object) -> CallFailed:
    after = more.pop("retry_after_ms", None)
    assert after is None or isinstance(after, int)
    return CallFailed(ErrorShape(code, "no", {"code": detail, **more}, retry_after_ms=after))


@pytest.mark.parametrize(
    ("error", "tries", "pause"),
    [
        (ConnectionLost("x"), 1, 1),
        (ConnectionLost("x"), 2, 2),
        (ConnectionLost("x"), 5, 16),
        (ConnectionLost("x"), 6, 30),
        (ConnectionLost("x"), 1000, 30),
        (ConnectionLost("x", 1012), 1, 1),
        (trio.TooSlowError(), 1, 1),
        (OSError(), 1, 1),
        (refused("UNAVAILABLE", retry_after_ms=5000), 1, 5),
        (refused("UNAVAILABLE", retry_after_ms=500), 3, 4),
        (refused("NOT_PAIRED", "PAIRING_REQUIRED"), 1, None),
        (refused("NOT_PAIRED", "PAIRING_REQUIRED", pauseReconnect=False), 1, 1),
        (refused("NOT_PAIRED", "PAIRING_REQUIRED", recommendedNextStep="wait_then_retry"), 1, 1),
        (refused("INVALID_REQUEST", "AUTH_RATE_LIMITED", recommendedNextStep="wait_then_retry"), 1, None),
        (refused("INVALID_REQUEST"), 1, None),
        (refused("FORBIDDEN"), 1, None),
        (CannotConnect("unreachable", "x"), 2, 2),
        (CannotConnect("busy", "x", wait=9), 1, 9),
        (CannotConnect("certificate-changed", "x"), 1, None),
        (CannotConnect("not-a-gateway", "x"), 1, None),
        (ValueError(), 1, None),
        *((refused("INVALID_REQUEST", code), 1, None) for code in sorted(PAUSING)),
    ],
    ids=repr,
)
def test_what_is_tried_again_and_when(error: BaseException, tries: int, pause: float | None):
    assert pause_after(error, tries) == pause


async def times_of(ends: list[BaseException | float], autojump_clock) -> list[float]:
    """When each connect happened: an error is one's end before hello, a number how long it lived."""
    begun: list[float] = []

    @asynccontextmanager
    async def connect() -> AsyncIterator[Client]:
        begun.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if begun and isinstance(end := ends[len(begun) - 1], BaseException):
            raise end
        yield Client.__new__(Client)

    async def use(_: Client) -> str:
        end = ends[len(begun) - 1]
        assert not isinstance(end, BaseException)
        await trio.sleep(end)
        if len(begun) == len(ends):
            return "done"
        raise ConnectionLost("gone")

    assert await reconnecting(connect, use) == "done"
    return [time - begun[0] for time in begun]


async def test_pauses_grow_while_nobody_answers(autojump_clock):
    ends: list[BaseException | float] = [ConnectionLost("x"), OSError(), CannotConnect("unreachable", "x"), 0.0]
    assert await times_of(ends, autojump_clock) == [0, 1, 3, 7]


async def test_a_good_connection_starts_the_pauses_anew_and_a_short_one_does_not(autojump_clock):
    assert await times_of([OSError(), OSError(), 100.0, OSError(), 0.0], autojump_clock) == [0, 1, 3, 104, 106]
    assert await times_of([OSError(), OSError(), 1.0, 0.0], autojump_clock) == [0, 1, 3, 8]


async def test_an_error_of_the_work_itself_is_its_own(autojump_clock):
    @asynccontextmanager
    async def connect() -> AsyncIterator[Client]:
        yield Client.__new__(Client)

    async def use(_: Client) -> None:
        raise refused("UNAVAILABLE")

    with pytest.raises(CallFailed):
        await reconnecting(connect, use)
