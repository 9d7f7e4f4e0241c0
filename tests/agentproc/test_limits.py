"""Where a worker's limits are written: what it was told at birth, and what a message says of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentproc.limits import MOST_OUTPUT_BYTES, key_of, output_limit, set_keys


@pytest.fixture(autouse=True)
def told() -> Iterator[None]:
    set_keys({"openFiles": "agents.defaults.limits.openFiles", "outputBytes": "agents.entries.a.limits.outputBytes"})
    yield
    set_keys({})


def test_a_key_is_named_in_full_where_it_was_told():
    assert key_of("openFiles") == "agents.defaults.limits.openFiles"
    assert key_of("pids") == "limits.pids"
    set_keys({})
    assert key_of("openFiles") == "limits.openFiles"


def test_a_bound_that_cannot_be_raised_says_so():
    assert output_limit(5) == "5 bytes (agents.entries.a.limits.outputBytes)"
    told = output_limit(MOST_OUTPUT_BYTES)
    assert told == "786432 bytes (agents.entries.a.limits.outputBytes can only make it less)"
