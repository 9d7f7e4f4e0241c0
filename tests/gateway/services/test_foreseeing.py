"""A sub-agent's worker is asked for while its message is being written."""

from __future__ import annotations

import threading

import pytest
import trio

from gateway.services.work import ChildLimit
from tests.support.engine import open_box

KID = ("main", "agent:main:subagent:kid")


async def test_its_worker_is_on_its_way_before_the_message_is_on_disk(box, nursery):
    disk_is_free = threading.Event()
    box.services.database.post(lambda db: disk_is_free.wait(10) and None)
    try:
        nursery.start_soon(box.spawn, "kid")
        await box.supervisor.wait_for(1, "asked")
        assert box.supervisor.asked == [KID]
        assert box.services.runs.snapshot("run-kid") is None
    finally:
        disk_is_free.set()
    _, run = await box.take(KID[1])
    assert (run.run_id, box.supervisor.asked) == ("run-kid", [KID])


async def test_a_spawn_that_is_sent_again_asks_for_nobody(box):
    await box.spawn("kid")
    worker, run = await box.take(KID[1])
    await worker.finish(run, "42")
    await box.spawn("kid")
    await box.settle()
    assert box.supervisor.asked.count(KID) == 1


async def test_nobody_is_asked_for_when_the_run_would_have_to_queue(tmp_path):
    async with open_box(tmp_path, tree={"agents": {"defaults": {"subagents": {"maxConcurrent": 1}}}}) as box:
        await box.spawn("first")
        await box.take("agent:main:subagent:first")
        await box.spawn("kid")
        await box.settle()
        assert KID not in box.supervisor.asked


async def test_a_child_that_is_refused_leaves_its_worker_without_work(box):
    await box.spawn("first")
    with pytest.raises(ChildLimit):
        await box.spawn("kid", max_children=1)
    worker = await box.hire(KID[1])
    with trio.move_on_after(0.05) as waiting:
        await worker.next()
    assert waiting.cancelled_caught
