"""A file that cannot be read for a while: what happens by itself meanwhile is told later, or without it, and ends
nobody. And what the disk does not take is counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio.testing

from gateway.protocol.errors import unavailable
from gateway.services.pairing.audit import MAX_PENDING
from tests.support.calls import Caller
from tests.support.engine import Box


@contextmanager
def unreadable(box: Box) -> Iterator[None]:
    """Nothing can be read inside."""

    def read(job: object) -> None:
        raise unavailable("nothing could be read: the disk gives errors")

    with pytest.MonkeyPatch.context() as disk:
        disk.setattr(box.services.database, "read", read)
        yield


async def pass_time(mock_clock: trio.testing.MockClock, seconds: float) -> None:
    mock_clock.jump(seconds)
    await trio.testing.wait_all_tasks_blocked()


async def test_changes_of_sessions_are_told_when_they_can_be_read_again(box, mock_clock):
    await box.send("hello")
    await box.settle()
    with unreadable(box):
        await pass_time(mock_clock, 0.2)
        assert box.listener.of("sessions.changed") == []
    await pass_time(mock_clock, 1.1)
    (told,) = box.listener.of("sessions.changed")
    assert (told["reason"], told["session"]["key"]) == ("create", "agent:main:main")


async def test_a_result_that_waits_long_is_told_of_without_when_its_session_began(box, mock_clock):
    await box.send("hello")
    await box.take()
    await box.spawn("kid", parent_run=None)
    child, run = await box.take("agent:main:subagent:kid")
    await child.finish(run, "42")
    await box.settle()
    with unreadable(box):
        await pass_time(mock_clock, 121)
    (notice,) = [one for one in box.listener.of("notice") if one["code"] == "ANNOUNCE_WAITS"]
    assert notice["message"].endswith("busy with the run hello")


async def test_the_health_is_told_again_when_it_can_be_read(box, mock_clock):
    await box.settle()
    with unreadable(box):
        await pass_time(mock_clock, 61)
        assert box.listener.of("health") == []
    await pass_time(mock_clock, 61)
    (told,) = box.listener.of("health")
    assert told.ok


@pytest.mark.parametrize("table", ["refusals", "audit"])
async def test_what_the_disk_did_not_take_is_counted_and_holds_up_nothing_later(table, box):
    stop = f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END"
    await box.services.database.write(lambda db: db.execute(stop) and None)
    refusals, audit = box.services.refusals, box.services.pairing.audit

    def note(number: int) -> None:
        refusals.note(code="FORBIDDEN", door="operator", peer="uid 7", reason=f"no {number}")
        audit.note("connect.refused", rule=f"no {number}")

    for number in range(MAX_PENDING):
        note(number)
    await box.settle()
    await box.services.database.write(lambda db: db.execute("DROP TRIGGER full") and None)
    note(-1)
    await box.settle()
    operator = Caller(box.services)
    refused, noted = await operator.ask("refusals.list", limit=1), await operator.ask("audit.list", limit=1)
    assert refused["refusals"][0]["reason"] == "no -1"
    assert noted["entries"][0]["rule"] == "no -1"
    assert (refused if table == "refusals" else noted)["dropped"] == MAX_PENDING
