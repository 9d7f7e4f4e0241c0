"""What is dropped, and that nothing in use is."""

from __future__ import annotations

from gateway.services import housekeeping
from gateway.services.housekeeping import House
from gateway.store import runs

KID = "agent:main:subagent:kid"


async def test_the_events_of_an_ended_run_go_after_an_hour_and_its_text_stays(box, mock_clock):
    await box.send("hello")
    worker, run = await box.take()
    await worker.say(run, "thinking")
    await worker.finish(run, "hi")
    stream = box.services.database.read
    mock_clock.jump(3000)
    await House(box.services.engine).clean()
    assert stream(lambda db: runs.stream_of(db, "hello", 1, "assistant")) != []
    mock_clock.jump(3000)
    await House(box.services.engine).clean()
    assert stream(lambda db: runs.stream_of(db, "hello", 1, "assistant")) == []
    assert (await box.services.runs.wait("hello", 0)).text == "hi"


async def test_an_idle_sub_agent_is_archived_and_a_busy_one_is_not(box, mock_clock):
    await box.send("hello")
    await box.take()
    await box.spawn("kid", parent_run="hello")
    child, run = await box.take(KID)
    mock_clock.jump(3601)
    await House(box.services.engine).clean()
    assert box.services.sessions.row(KID) is not None
    await child.finish(run, "42")
    mock_clock.jump(3601)
    await House(box.services.engine).clean()
    assert box.services.sessions.row(KID) is None
    assert box.services.sessions.row("agent:main:main") is not None


async def test_refusals_are_bounded_on_disk_and_on_their_way(box, monkeypatch):
    monkeypatch.setattr(housekeeping, "REFUSALS_KEPT", 10)
    for number in range(1500):
        box.services.refusals.note(code="FORBIDDEN", door="agents", peer="uid 7", reason=str(number))
    assert box.services.refusals.dropped == 500
    await box.settle()
    await House(box.services.engine).clean()
    kept = box.services.refusals.newest(limit=100)
    assert [one["reason"] for one in kept["refusals"]] == [str(number) for number in range(999, 989, -1)]


async def test_houses_are_kept_now_and_then(box, mock_clock):
    await box.services.idempotency.record("s", "k", "d", {"n": 1})
    await box.settle()
    mock_clock.jump(25 * 3600)
    for _ in range(5):
        await box.settle()
    assert box.services.idempotency.recall("s", "k", "d") is None
