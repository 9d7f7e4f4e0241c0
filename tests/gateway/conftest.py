"""What the tests of connections share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.doors import Place, open_place
from tests.support.talk import HANDLERS


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """A gateway without a socket: connections come in pairs, and answer as `talk.HANDLERS` says."""
    async with open_place(HANDLERS) as one:
        yield one
