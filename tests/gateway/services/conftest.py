"""A gateway's services on a database of the test's own, in a time that stands still."""

from __future__ import annotations

import pytest

from tests.support.engine import open_box


@pytest.fixture
async def box(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        yield box
