"""A real outer door for the stories of the client that comes over the network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.greet.front import Front, open_front
from tests.support.outer_door import OuterDoor, make_certificate, open_outer_door


@pytest.fixture
async def front(tmp_path) -> AsyncIterator[Front]:
    async with open_front(tmp_path) as one:
        yield one


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return make_certificate(tmp_path)


@pytest.fixture
async def door(front, pem) -> AsyncIterator[OuterDoor]:
    async with open_outer_door(front, pem) as one:
        yield one


@pytest.fixture
def keep(tmp_path: Path) -> Path:
    """Where the client keeps its key."""
    return tmp_path / "device"
