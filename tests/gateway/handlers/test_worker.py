"""A worker's calls over its connection, from the first run to the last word."""

from __future__ import annotations

import pytest

from gateway.handlers import HANDLERS
from gateway.protocol.calls import ROWS
from gateway.protocol.errors import Refusal
from tests.support.calls import Caller, worker_principal
from tests.support.engine import open_box


@pytest.fixture
async def box(tmp_path, mock_clock):
    async with open_box(tmp_path) as box:
        yield box


def test_every_row_but_connect_has_a_handler():
    assert HANDLERS.keys() == ROWS.keys() - {"connect"}


async def test_a_worker_takes_a_run_reports_and_finishes(box):
    await box.send("hello")
    await box.supervisor.wait_for(1)
    worker = Caller(box.services, worker_principal(box.supervisor.born[0]))
    run = await worker.ask("worker.next")
    assert (run["runId"], run["attempt"], run["message"]) == ("hello", 1, "hello")
    who = {"runId": "hello", "attempt": 1}
    events = [{"stream": "assistant", "data": {"delta": "hm"}, "ts": 1.0}]
    assert await worker.ask("worker.emit", **who, seq=1, events=events) == {"acked": 1}
    assert await worker.ask("worker.state", runId="hello", state={"n": 1}) == {"ok": True}
    assert await worker.ask("worker.steering", runId="hello", open=True) == {"ok": True}
    await box.spawn("kid", parent_run="hello")
    child, kid = await box.take("agent:main:subagent:kid")
    await child.finish(kid, "42")
    event, payload = worker.events[0]
    assert (event, payload["runId"], payload["mails"][0]["provenance"]["result"]) == ("worker.steer", "hello", "42")
    assert await worker.ask("worker.steering", runId="hello", open=False) == {"ok": True}
    assert await worker.ask("worker.finish", **who, status="done", text="hi") == {"ok": True, "runId": "hello"}
    assert (await box.services.runs.wait("hello", 0)).text == "hi"


async def test_a_status_nobody_knows_is_refused_with_those_there_are(box):
    await box.send("hello")
    await box.supervisor.wait_for(1)
    worker = Caller(box.services, worker_principal(box.supervisor.born[0]))
    await worker.ask("worker.next")
    with pytest.raises(Refusal, match="allowed: done, failed, aborted, timed_out"):
        await worker.ask("worker.finish", runId="hello", attempt=1, status="perfect")


async def test_only_the_newest_next_of_a_worker_waits(box, nursery):
    await box.send("hello")
    worker, run = await box.take()
    await worker.finish(run)
    refused: list[str] = []

    async def older():
        with pytest.raises(Refusal) as caught:
            await worker.next()
        refused.append(caught.value.shape.message)

    nursery.start_soon(older)
    await box.settle()
    nursery.start_soon(worker.next)
    await box.settle()
    assert refused == ["a newer worker.next of this worker waits in its place"]
    nursery.cancel_scope.cancel()
