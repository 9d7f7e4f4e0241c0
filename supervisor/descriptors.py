"""How many descriptors the supervisor may have open: as many as the kernel lets it, for a worker takes four of them.

Owns: raising that limit, and that our children get the one we were started with. A program may take a soft limit above
1,024 for a promise that it never meets a larger number (select(2))."""

from __future__ import annotations

import resource
from contextlib import suppress

_given: list[tuple[int, int]] = []


def raise_limit() -> None:
    """The soft limit becomes the hard one; call it once, at the start."""
    _given[:] = [resource.getrlimit(resource.RLIMIT_NOFILE)]
    _, hard = _given[0]
    with suppress(OSError, ValueError):  # fs.nr_open was lowered below it meanwhile: what there is must do
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def give_limit(pid: int) -> None:
    """A child of ours, just started, has the limit we had (prlimit(2)), and so has what it starts. One that has ended,
    or may not be told, is let be."""
    for limit in _given:
        with suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
