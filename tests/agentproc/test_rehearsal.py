"""A rehearsal goes through everything a worker does and leaves nothing behind."""

from __future__ import annotations

import os
import signal

from agentproc.rehearsal import carry_out_a_run


def test_a_rehearsal_leaves_no_descriptor_no_thread_and_no_handler():
    before = sorted(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), signal.getsignal(signal.SIGTERM)
    carry_out_a_run()
    after = sorted(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), signal.getsignal(signal.SIGTERM)
    assert after == before
