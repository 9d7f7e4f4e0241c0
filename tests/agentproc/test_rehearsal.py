"""A rehearsal goes through everything a worker does and leaves nothing behind."""

from __future__ import annotations

import signal
from pathlib import Path

from agentproc.rehearsal import carry_out_a_run


def traces() -> tuple[list[str], set[str], object]:
    """Descriptors, threads and the handler of SIGTERM of this process."""
    descriptors = sorted(entry.name for entry in Path("/proc/self/fd").iterdir())
    return descriptors, {entry.name for entry in Path("/proc/self/task").iterdir()}, signal.getsignal(signal.SIGTERM)


def test_a_rehearsal_leaves_no_descriptor_no_thread_and_no_handler():
    before = traces()
    carry_out_a_run()
    descriptors, threads, handler = traces()
    assert (descriptors, handler) == (before[0], before[2])
    assert threads <= before[1]  # one that Trio kept for an earlier test may have gone meanwhile
