"""An answer that comes a little later, for a call that needs no task until then: a task costs as much as accepting a
message does."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import msgspec
import trio

Tell = Callable[[Any], None]


class Later(msgspec.Struct, frozen=True):
    """Something that is still to be begun, once. `begin(tell)` does not wait; `tell` is called once, in the event loop,
    with the answer or with the exception to be raised, and never if `begin` itself raises. A task can simply await
    it."""

    begin: Callable[[Tell], None]

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        told: list[Any] = []
        done = trio.Event()

        def tell(outcome: Any) -> None:
            told.append(outcome)
            done.set()

        self.begin(tell)
        await done.wait()
        if isinstance(told[0], Exception):
            raise told[0]
        return told[0]
