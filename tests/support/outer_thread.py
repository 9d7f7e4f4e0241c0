"""An outer door of the tests in a thread of its own, for command lines, which block. Real door, real network."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio
import trio.from_thread

from tests.gateway.greet.front import TOKEN, open_front
from tests.support.doors import operator
from tests.support.outer_door import OuterDoor, fingerprint_of, open_outer_door

T = TypeVar("T")
Ran = TypeVar("Ran")


class FarAway:
    """A system elsewhere. `door` is its outer door; `run` does something there."""

    def __init__(self) -> None:
        self.door: OuterDoor
        self._token: trio.lowlevel.TrioToken
        self._over: trio.Event
        self._ready = threading.Event()
        self._trouble: BaseException | None = None

    @property
    def url(self) -> str:
        return self.door.url

    def run(self, do: Callable[..., Awaitable[T]], *args: Any) -> T:
        return trio.from_thread.run(do, *args, trio_token=self._token)

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """Requests a person there can see."""

        async def look() -> list[dict[str, Any]]:
            return self.door.front.waiting

        return self.run(look)

    def approve(self, request: str) -> None:
        self.run(self.door.front.box.services.pairing.approve, request, operator())

    async def serve(self, directory: Path, certificate: Path | None, tree: dict[str, Any] | None) -> None:
        self._token, self._over = trio.lowlevel.current_trio_token(), trio.Event()
        async with open_front(directory, tree) as front, open_outer_door(front, certificate) as self.door:
            self._ready.set()
            await self._over.wait()

    def live(self, *args: Any) -> None:
        try:
            trio.run(self.serve, *args)
        except BaseException as error:
            self._trouble = error
        finally:
            self._ready.set()

    def await_start(self) -> None:
        assert self._ready.wait(20)
        assert self._trouble is None, self._trouble

    def end(self) -> None:
        self._token.run_sync_soon(self._over.set)


@contextmanager
def far_away(directory: Path, certificate: Path | None, tree: dict[str, Any] | None = None) -> Iterator[FarAway]:
    """A system elsewhere while the block lasts; wss when it has a certificate."""
    far = FarAway()
    thread = threading.Thread(target=far.live, args=(directory, certificate, tree), daemon=True)
    thread.start()
    far.await_start()
    try:
        yield far
    finally:
        far.end()
        thread.join(20)


def pair_with(peergate: Callable[..., Ran], far: FarAway, *words: str) -> Ran:
    """`peergate pair …` while a person over there approves what comes."""

    def person() -> None:
        for _ in range(400):
            if waiting := far.waiting:
                far.approve(waiting[0]["requestId"])
                return
            time.sleep(0.02)

    thread = threading.Thread(target=person, daemon=True)
    thread.start()
    fingerprint = ("--fingerprint", fingerprint_of(far.door.certificate)) if far.door.certificate else ()
    ended = peergate("pair", far.url, *fingerprint, *words)
    thread.join(10)
    return ended


def paired(peergate: Callable[..., Any], far: FarAway) -> None:
    """Make this device one of theirs."""
    assert pair_with(peergate, far, "--token", TOKEN).code == 0
