"""A clock that is set for real, by a nanosecond, which nobody but the kernel notices."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

import pytest
import trio
import trio.testing

from gateway.services.cron.watching import open_clock_set
from tests.support.jobs import UNNOTICED_SECONDS, open_jobs

_ADJ_SETOFFSET, _ADJ_NANO = 0x0100, 0x2000
_TIMEX_BYTES, _TIME_AT = 208, 72


def step_by_a_nanosecond() -> None:
    """clock_adjtime(2) with an offset. Raises PermissionError where CAP_SYS_TIME is missing."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    struct.pack_into("@I", timex, 0, _ADJ_SETOFFSET | _ADJ_NANO)
    struct.pack_into("@ll", timex, _TIME_AT, 0, 1)
    if ctypes.CDLL(None, use_errno=True).clock_adjtime(0, timex) < 0:
        raise OSError(ctypes.get_errno(), "clock_adjtime")


@pytest.fixture(autouse=True)
def _may_set_the_clock():
    if sys.platform != "linux" or struct.calcsize("@l") != 8:
        pytest.skip("needs CAP_SYS_TIME, and struct timex as 64-bit Linux has it")
    try:
        step_by_a_nanosecond()
    except PermissionError:
        pytest.skip("needs CAP_SYS_TIME")


async def test_a_clock_that_is_set_is_noticed_each_time():
    before = len(os.listdir("/proc/self/fd"))
    with open_clock_set() as clock:
        for _ in range(3):
            with trio.move_on_after(0.05) as waited:
                await clock.wait()
            assert waited.cancelled_caught
            step_by_a_nanosecond()
            with trio.fail_after(5):
                await clock.wait()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_job_that_came_due_by_that_does_not_wait_for_the_next_look(tmp_path, mock_clock):
    async with open_jobs(tmp_path) as box:
        job = await box.add(schedule={"kind": "every", "everyMs": 3_600_000})
        await box.calm()
        box.clock.step(3700)
        await box.calm()
        assert box.supervisor.born == []
        step_by_a_nanosecond()
        await box.calm()
        (born,) = box.supervisor.born
        assert job["id"] in born.session
        assert trio.current_time() < UNNOTICED_SECONDS  # no time has gone by
