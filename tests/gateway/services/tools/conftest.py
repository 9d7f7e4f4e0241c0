"""A gateway's services in a time that stands still, and the session tools as an operator or an agent uses them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.calls import Caller, worker_principal
from tests.support.engine import Box, Worker, open_box


@pytest.fixture
async def box(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        yield box


class Hands:
    """Whoever uses a tool: an operator, or with `worker` that worker's session."""

    def __init__(self, box: Box, worker: Worker | None = None) -> None:
        self._caller = Caller(box.services, *([worker_principal(worker.born)] if worker else []))

    async def use(self, name: str, *, acting: str | None = None, key: str | None = None, **args: Any) -> dict[str, Any]:
        """A tool's result; `acting` is the session an operator names, `key` the idempotency key."""
        given = {"sessionKey": acting, "idempotencyKey": key}
        told = {field: value for field, value in given.items() if value is not None}
        result: dict[str, Any] = await self._caller.ask("tools.invoke", name=name, args=args, **told)
        return result


@pytest.fixture
def hands(box):
    """An operator's."""
    return Hands(box)


@pytest.fixture
def hands_of(box):
    """A worker's."""
    return lambda worker: Hands(box, worker)


@pytest.fixture
def hands_type():
    """For a test that opens a box of its own."""
    return Hands
