"""What this process takes of the machine, and may take: memory, descriptors. Owns reading, raising and giving back."""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress
from pathlib import Path


def own_weight() -> tuple[int, int, int]:
    """Resident and proportional memory in bytes, and open descriptors; zeros where the kernel does not say."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text()
        descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return 0, 0, 0
    kilobytes = dict(line.split()[:2] for line in text.splitlines()[1:])
    return int(kilobytes["Rss:"]) * 1024, int(kilobytes["Pss:"]) * 1024, descriptors


def give_memory_back() -> bool:
    """Whole pages that the C library keeps between blocks in use go back to the kernel; whether there were any.

    By itself it only gives back the top of its first heap (malloc_trim(3), glibc 2.8); the free pages between what
    peaks of load leave behind come to megabytes within the hour. Takes 0.1 to 0.3 ms here. False without glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))


def raise_descriptor_limit() -> None:
    """As many descriptors as we may have: one per connection, and 10,000 may be idle."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # fs.nr_open was lowered below it meanwhile: what there is must do
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
