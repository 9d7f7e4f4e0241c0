"""Whether a worker and everything below it stay within their limits, where no cgroup watches.

Owns: the reckoning. `over_limit` is pure; `measure` reads /proc. Memory is anonymous resident memory (`RssAnon`),
summed over the tree: what forked processes still share is counted for each, which errs on the strict side by a few
megabytes per process."""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.settings import AgentSettings
from supervisor.trees import descendants

SAMPLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tree uses: bytes, processes, and bytes it has printed in its life."""

    memory: int = 0
    processes: int = 0
    output: int = 0


def over_limit(settings: AgentSettings, usage: Usage) -> str | None:
    """The sentence that names the first limit exceeded, None when there is none."""
    for key, used, unit in (
        ("memoryBytes", usage.memory, "bytes of memory"),
        ("pids", usage.processes, "processes"),
        ("outputBytes", usage.output, "bytes of output"),
    ):
        allowed = settings.limits.get(key)
        if allowed and used > allowed:
            return f"{settings.limit_key(key)}: {used} {unit}, {allowed} allowed"
    return None


def anonymous_memory(pid: int) -> int:
    """RssAnon in bytes; 0 when the process is gone or may not be looked at."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"RssAnon:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def measure(pid: int, output: int) -> Usage:
    """What the tree below `pid` uses now."""
    tree = [pid, *descendants(pid)]
    return Usage(sum(map(anonymous_memory, tree)), len(tree), output)
