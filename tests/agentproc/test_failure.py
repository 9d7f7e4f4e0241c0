"""What an agent's author is told: their error and their lines, and none of ours."""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio

from agentproc.failure import cut, describe
from gateway.protocol.keys import parse_key


def broken(depth: int) -> None:
    if depth:
        broken(depth - 1)
    raise LookupError("nothing there")


def caught(depth: int = 0) -> BaseException:
    with pytest.raises(LookupError) as info:
        broken(depth)
    return info.value


def test_type_message_and_the_line_it_happened_on_come_first():
    first, second, *_ = describe(caught()).split("\n")
    assert first == "LookupError: nothing there"
    assert second.startswith("  in broken, ")
    assert second.endswith(': raise LookupError("nothing there")')


def test_only_the_last_frames_are_told():
    assert describe(caught(depth=30)).count("  in ") == 4


def test_our_own_frames_are_left_out():
    with pytest.raises(AttributeError) as info:
        parse_key(None)  # type: ignore[arg-type]
    assert "keys.py" not in describe(info.value)


async def test_an_error_out_of_a_nursery_is_told_as_itself():
    with pytest.raises(ExceptionGroup) as info:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, broken, 0)
    assert describe(info.value).startswith("LookupError: nothing there\n  in broken, ")


def test_a_process_that_may_not_be_started_names_the_limit():
    """In a process of its own: as a user who may have one process, and is it."""
    program = (
        "import os, resource, subprocess\nfrom agentproc.failure import describe\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))\n"
        "os.geteuid() or os.setresuid(4242, 4242, 4242)\n"
        "try:\n    held = [subprocess.Popen(['sleep', '0.2']) for _ in range(3)]\n"
        "except OSError as error:\n    print(describe(error).splitlines()[0])\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "Resource temporarily unavailable" in told
    assert told.endswith("(limits.pids: 1 are allowed)\n")


def test_a_resource_that_is_unavailable_for_another_reason_names_none():
    with pytest.raises(BlockingIOError) as info:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    assert "limits" not in describe(info.value)


def test_several_errors_at_once_are_counted():
    group = ExceptionGroup("x", [ValueError(str(number)) for number in range(5)])
    told = describe(group).split("\n")
    assert told == ["5 errors at once:", "ValueError: 0", "ValueError: 1", "ValueError: 2", "and 2 more"]


def test_a_novel_is_cut():
    assert cut("x" * 50, 10) == "x" * 10 + "… (40 more characters)"
