"""What this process takes of the machine, and may take: memory, descriptors. Owns reading and raising both."""

from __future__ import annotations

import resource
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


def raise_descriptor_limit() -> None:
    """As many descriptors as we may have: one per connection, and 10,000 may be idle."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
