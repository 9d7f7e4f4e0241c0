"""Signal handlers for the first moments of the process, before anything slow is imported.

Owns: what is caught until `signals.serve_signals` takes over. As PID 1 an unhandled SIGTERM would be ignored; elsewhere
it would end us half started. Imports `signal` and nothing else."""

from __future__ import annotations

import signal

STOP = (signal.SIGTERM, signal.SIGINT)
HANDLED = (*STOP, signal.SIGHUP, signal.SIGUSR2, signal.SIGQUIT, signal.SIGCHLD)


def catch_early() -> list[int]:
    """Install handlers that only remember. The list they fill."""
    caught: list[int] = []
    for number in HANDLED:
        signal.signal(number, lambda received, _frame: caught.append(received))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return caught


def ignore_late() -> None:
    """Nothing is left to stop: a signal that comes while the interpreter ends must not turn exit code 0 into a death by
    signal."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
