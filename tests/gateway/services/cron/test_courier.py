"""Calls to addresses outside: who waits for whom, how many may wait, and who is told of what once."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import trio

from gateway.protocol.cron import Owner
from gateway.services.cron.courier import AT_ONCE_PER_HOST
from gateway.services.cron.deliveries import MAX_CALLS_WAITING_OF_A_JOB, MAX_WORDS_WAITING
from gateway.store import cron, writer
from tests.support.jobs import JobBox, on_full_disk, open_jobs

TREE = {"cron": {"webhookToken": "t0ken", "webhookSsrfPolicy": {"allowPrivateNetwork": True}}}
EVENT: dict[str, Any] = {
    "sessionTarget": "main",
    "payload": {"kind": "systemEvent", "text": "x"},
    "wakeMode": "next-heartbeat",
}
"""A job whose run is over at once."""


@dataclass
class Receivers:
    """Servers on ports of their own. `heard` counts calls by their path; what is in `deaf` is never answered, what is
    in `busy` is told to come again as often as it says."""

    nursery: trio.Nursery
    heard: Counter[str] = field(default_factory=Counter)
    deaf: set[str] = field(default_factory=set)
    busy: Counter[str] = field(default_factory=Counter)
    signed: set[str] = field(default_factory=set)

    async def open(self) -> str:
        """The address of another server."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.nursery.start_soon(partial(trio.serve_listeners, self._answer, [listener]))
        return f"http://127.0.0.1:{listener.socket.getsockname()[1]}"

    async def _answer(self, stream: trio.SocketStream) -> None:
        async with stream:
            said = bytes(await stream.receive_some())
            path = said.split(b" ", 2)[1].decode()
            self.heard[path] += 1
            if b"authorization: bearer t0ken" in said.lower():
                self.signed.add(path)
            if path in self.deaf:
                await trio.sleep_forever()
            status = 503 if self.busy[path] > 0 else 204
            self.busy[path] -= 1
            await stream.send_all(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())


@asynccontextmanager
async def calling(tmp_path: Any) -> AsyncIterator[tuple[JobBox, Receivers]]:
    async with open_jobs(tmp_path, tree=TREE) as box, trio.open_nursery() as nursery:
        await nursery.start(box.answer_all)
        yield box, Receivers(nursery)
        nursery.cancel_scope.cancel()


def waiting(box: JobBox) -> int:
    return int(box.services.database.read(cron.count_calls))


async def run(box: JobBox, job: dict[str, Any]) -> None:
    """Have a job run, and what follows settle."""
    await box.cron.run(job["id"])
    await box.pass_time(0.01)  # two that are asked for in one instant are told apart by the next one


async def until_heard(receivers: Receivers, path: str) -> None:
    """Sockets are real; the clock stands still meanwhile."""
    for _ in range(20_000):
        if receivers.heard[path]:
            return
        await trio.to_thread.run_sync(lambda: None)
    raise AssertionError(f"{path} was not called")


async def test_a_host_that_does_not_answer_holds_up_nobody_else(tmp_path, mock_clock):
    async with calling(tmp_path) as (box, receivers):
        receivers.deaf.add("/deaf")
        deaf, good = await receivers.open(), await receivers.open()
        silent = await box.add(**EVENT, delivery={"mode": "webhook", "to": f"{deaf}/deaf"})
        for _ in range(8):
            await run(box, silent)
        await until_heard(receivers, "/deaf")
        await run(box, await box.add(**EVENT, delivery={"mode": "webhook", "to": f"{good}/good"}))
        await until_heard(receivers, "/good")
        assert receivers.heard["/deaf"] <= AT_ONCE_PER_HOST


async def test_so_many_calls_of_a_job_wait_and_the_next_delivery_has_failed(tmp_path, mock_clock):
    async with calling(tmp_path) as (box, receivers):
        receivers.deaf.add("/deaf")
        job = await box.add(**EVENT, delivery={"mode": "webhook", "to": f"{await receivers.open()}/deaf"})
        for _ in range(MAX_CALLS_WAITING_OF_A_JOB + 1):
            await run(box, job)
        assert waiting(box) == MAX_CALLS_WAITING_OF_A_JOB
        *before, last = await box.log(job["id"])
        assert {(entry.status, entry.delivery_status) for entry in before} == {("ok", "unknown")}
        why = f"{MAX_CALLS_WAITING_OF_A_JOB} calls of this job wait already"
        assert (last.status, last.error) == ("error", f"not delivered: {why}")
        await run(box, await box.add(**EVENT))  # another job's are other ones


async def test_a_failed_run_is_told_of_once_though_its_own_delivery_comes_late(tmp_path, mock_clock):
    async with calling(tmp_path) as (box, receivers):
        here = await receivers.open()
        receivers.busy["/late"] = 1
        place = {"mode": "webhook", "to": f"{here}/failing"}
        told = {"mode": "webhook", "to": f"{here}/late", "failureDestination": place}
        job = await box.add(**EVENT, delivery=told)
        for _ in range(MAX_WORDS_WAITING):  # the job's is one too many, and its run has failed
            await box.cron.wake("next-heartbeat", "x")
        await run(box, job)
        await until_heard(receivers, "/late")
        await until_heard(receivers, "/failing")
        for _ in range(200):  # the other end is a real socket
            if not waiting(box):
                break
            await box.pass_time(1)
        (entry,) = await box.log(job["id"])
        assert (entry.status, entry.delivered) == ("error", True)
        assert (receivers.heard["/late"], receivers.heard["/failing"]) == (2, 1)


async def test_the_operators_token_goes_with_calls_of_jobs_an_operator_has_made(tmp_path, mock_clock):
    async with calling(tmp_path) as (box, receivers):
        here = await receivers.open()
        await run(box, await box.add(**EVENT, delivery={"mode": "webhook", "to": f"{here}/operators"}))
        agents = Owner("main", "agent:main:main")
        await run(box, await box.add(agents, delivery={"mode": "webhook", "to": f"{here}/agents"}, **EVENT))
        for path in ("/operators", "/agents"):
            await until_heard(receivers, path)
        assert receivers.signed == {"/operators"}


async def test_a_disk_that_notes_nothing_has_no_call_made_again_and_again(
    tmp_path, mock_clock, monkeypatch: pytest.MonkeyPatch
):
    full = [False]
    monkeypatch.setattr(cron, "drop_call", on_full_disk(full, cron.drop_call))
    monkeypatch.setattr(writer, "told_by_the_system", lambda directory: ("full", "full") if full[0] else None)
    async with calling(tmp_path) as (box, receivers):
        job = await box.add(**EVENT, delivery={"mode": "webhook", "to": f"{await receivers.open()}/x"})
        full[0] = True
        await box.cron.run(job["id"])
        await until_heard(receivers, "/x")
        for _ in range(10):
            mock_clock.jump(2)
            for _ in range(100):  # the other end is a real socket, and the disk a real thread
                await trio.to_thread.run_sync(lambda: None)
        assert receivers.heard["/x"] == 1
        full[0] = False
        for _ in range(200):
            if not waiting(box):
                break
            await box.calm()
        assert (receivers.heard["/x"], waiting(box)) == (2, 0)


async def test_a_call_that_is_to_be_made_again_is_not_forgotten_when_the_clock_is_put_back(tmp_path, mock_clock):
    async with calling(tmp_path) as (box, receivers):
        receivers.busy["/x"] = 1
        told = {"mode": "webhook", "to": f"{await receivers.open()}/x"}
        job = await box.add(**EVENT, schedule={"kind": "every", "everyMs": 30 * 86_400_000}, delivery=told)
        await box.cron.run(job["id"])
        await until_heard(receivers, "/x")
        for _ in range(2000):  # the other end is a real socket
            if box.services.database.read(lambda db: cron.next_call(db, box.now)) is not None:
                break
            await trio.to_thread.run_sync(lambda: None)
        box.clock.step(-86_400)
        for _ in range(200):
            if not waiting(box):
                break
            await box.pass_time(1)
        assert (receivers.heard["/x"], waiting(box)) == (2, 0)
