"""What the tests of links share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.link.ends import OPEN


@pytest.fixture(autouse=True)
def closed_in_the_end() -> Iterator[None]:
    """Both ends of every connection a test has made are closed after it."""
    yield
    while OPEN:
        OPEN.pop().close()
