"""Looking at one's own children, also without a descriptor to look with."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator

import pytest

from agentproc import trees


@pytest.fixture
def child() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


def test_what_was_seen_counts_though_somebody_took_the_descriptor_meanwhile(child: int, monkeypatch):
    look, looks = trees._children, 0

    def full(of: int | str) -> list[int]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return look(of)

    def taken() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    trees.set_aside()
    monkeypatch.setattr(trees, "_children", full)
    with monkeypatch.context() as patched:
        patched.setattr(trees, "set_aside", taken)
        assert child in trees.children()
    trees.set_aside()
    assert len(trees._aside) == 1
