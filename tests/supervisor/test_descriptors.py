"""The supervisor's own limit on descriptors: raised where the kernel lets it."""

from __future__ import annotations

import resource

import pytest

from supervisor import descriptors


def test_a_hard_limit_the_kernel_would_not_give_again_stops_no_start(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")  # above fs.nr_open

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr("supervisor.descriptors._given", [])
    monkeypatch.setattr(resource, "setrlimit", refuse)
    descriptors.raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
