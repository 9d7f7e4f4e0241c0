"""How an agent's mistake is told to the one who wrote the agent: what went wrong and where in their own code.

The frames of our packages and of Trio are left out: the reader can do nothing about them, and the log has them all."""

from __future__ import annotations

import errno
import resource
import traceback
from pathlib import Path

import outcome
import trio

import agentproc
from agentproc.limits import key_of
from gateway import protocol

FRAMES = 4
LEAVES = 3
TEXT_CHARS = 2000

_BUILTIN = Path(agentproc.__file__).parent / "builtin"
_INTERNAL = (
    Path(agentproc.__file__).parent,
    Path(protocol.__file__).parent.parent,
    Path(trio.__file__).parent,
    Path(outcome.__file__).parent,
)


def describe(error: BaseException) -> str:
    """The error's type and message, and the last frames of the agent's own code, innermost first."""
    if isinstance(error, BaseExceptionGroup):
        return _describe_group(error)
    lines = [f"{type(error).__name__}: {error}" if str(error) else type(error).__name__]
    if limit := limit_behind(error):
        lines[0] += f" ({limit})"
    if isinstance(error, SyntaxError):
        return cut(lines[0])
    for frame in reversed(own_frames(error)[-FRAMES:]):
        lines.append(f"  in {frame.name}, {frame.filename}:{frame.lineno}: {(frame.line or '').strip()}")
    return cut("\n".join(lines))


def limit_behind(error: BaseException) -> str | None:
    """The configured limit an error comes from, when this process has one of that kind."""
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"{key_of('openFiles')}: {soft} are allowed"
    if isinstance(error, BlockingIOError) and _starts_a_process(error) and (allowed := processes_allowed()):
        return f"{key_of('pids')}: {allowed} are allowed"
    if isinstance(error, MemoryError):
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        return None if soft == resource.RLIM_INFINITY else key_of("memoryBytes")
    return None


def _starts_a_process(error: BaseException) -> bool:
    return any(frame.name == "_execute_child" for frame in traceback.extract_tb(error.__traceback__))


def processes_allowed() -> int | None:
    """How many processes the kernel lets this worker and its tools have: its control group's pids.max, else what a uid
    of its own may have (RLIMIT_NPROC); None without such a limit."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
        own = next(line.removeprefix("0::") for line in groups if line.startswith("0::"))
        return int(Path(f"/sys/fs/cgroup{own}/pids.max").read_text())
    except (OSError, StopIteration, ValueError):  # no such group, no such controller, or "max"
        soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        return None if soft == resource.RLIM_INFINITY else soft


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames that are neither ours nor the event loop's; the built-in agents count as somebody's own."""
    return [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_internal(Path(frame.filename))]


def cut(text: str, limit: int = TEXT_CHARS) -> str:
    """At most `limit` characters, and a word about what is missing."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"


def _is_internal(path: Path) -> bool:
    if path.name.startswith("<frozen "):
        return True
    return not path.is_relative_to(_BUILTIN) and any(path.is_relative_to(place) for place in _INTERNAL)


def _describe_group(group: BaseExceptionGroup[BaseException]) -> str:
    found = leaves(group)
    if len(found) == 1:
        return describe(found[0])
    told = [describe(error) for error in found[:LEAVES]]
    more = [f"and {len(found) - LEAVES} more"] if len(found) > LEAVES else []
    return cut("\n".join([f"{len(found)} errors at once:", *told, *more]))


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions in a group, however deep."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
