"""Webhooks: where they may lead, what is sent, and what becomes of a call that fails."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from gateway.protocol.cron import RunEntry
from gateway.services.cron.addresses import Forbidden, Target, judge
from gateway.services.cron.webhook import Fate, Post, Reach, post
from tests.support.jobs import open_jobs

OPEN = Reach(private=True)


@pytest.mark.parametrize(
    ("address", "private", "allowed"),
    [
        ("93.184.216.34", False, True), ("2606:2800:220:1::1", False, True),
        ("127.0.0.1", False, False), ("127.0.0.1", True, True), ("::1", False, False), ("::1", True, True),
        ("10.0.0.7", False, False), ("10.0.0.7", True, True), ("192.168.1.1", False, False),
        ("172.16.0.1", False, False), ("100.64.0.1", False, False), ("fd12::1", False, False), ("fd12::1", True, True),
        ("169.254.169.254", False, False), ("169.254.169.254", True, False), ("fe80::1", True, False),
        ("fe80::1%eth0", True, False), ("fd00:ec2::254", True, False), ("100.100.100.200", True, False),
        ("0.0.0.0", False, False), ("0.0.0.0", True, False),
        ("224.0.0.1", True, False), ("255.255.255.255", True, False),
        ("::ffff:127.0.0.1", False, False), ("::ffff:169.254.169.254", True, False), ("::ffff:8.8.8.8", False, True),
        ("64:ff9b::a9fe:a9fe", True, False), ("64:ff9b::808:808", False, True), ("2002:7f00:1::", False, False),
        ("::ffff:0:7f00:1", False, False), ("::ffff:0:a9fe:a9fe", True, False), ("::ffff:0:808:808", False, True),
        ("fec0::1", False, False), ("feff::1", False, False), ("fec0::1", True, True),
        ("192.0.0.8", False, False), ("192.0.0.9", False, False), ("192.0.0.255", False, False),
        ("192.0.0.8", True, True), ("192.0.0.192", True, False), ("192.0.1.1", False, True),
        ("192.88.99.1", False, False), ("192.88.98.1", False, True),
        ("3fff::1", False, False), ("3fff:fff::1", False, False), ("3fff:1000::1", False, True),
        ("5f00::1", False, False), ("5f00:ffff::1", False, False), ("5f00::1", True, False),
        ("168.63.129.16", False, False), ("168.63.129.16", True, False), ("168.63.129.17", False, True),
        ("::ffff:168.63.129.16", True, False), ("64:ff9b::a83f:8110", True, False),
        ("::127.0.0.1", False, False), ("nonsense", True, False),
    ],
)  # fmt: skip
def test_where_a_webhook_may_lead(address: str, private: bool, allowed: bool):
    assert (judge("host", address, private=private, names=()) is None) is allowed


def test_a_host_that_is_named_may_lead_anywhere():
    assert judge("Box.lan", "169.254.169.254", private=False, names=["box.lan."]) is None
    assert "allowPrivateNetwork" in str(judge("box.lan", "10.0.0.7", private=False, names=["other"]))


@pytest.mark.parametrize(
    "url", ["ftp://x/", "http:///x", "https://user:pw@x/", "http://x:99999/", "http://[::1/", "file:///etc/passwd"]
)
def test_what_is_no_plain_address_is_not_called(url: str):
    with pytest.raises(Forbidden):
        Target(url)


@asynccontextmanager
async def receiver(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives one answer after the other, the last one again and again; its address, and what it was
    sent."""
    heard: list[bytes] = []
    left = list(answers)

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            said = b""
            while b"\r\n\r\n" not in said or len(said.split(b"\r\n\r\n", 1)[1]) < _length(said):
                chunk = await stream.receive_some()
                if not chunk:
                    return
                said += chunk
            heard.append(said)
            await stream.send_all(left.pop(0) if len(left) > 1 else left[0])

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(partial(trio.serve_listeners, answer, [listener]))
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}/hook?a=b", heard
        nursery.cancel_scope.cancel()


def _length(said: bytes) -> int:
    head = said.split(b"\r\n\r\n", 1)[0].lower()
    return int(head.split(b"content-length: ")[1].split(b"\r\n")[0])


OK, BUSY, GONE = (f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode() for status in (204, 503, 410))
MOVED = b"HTTP/1.1 302 x\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"


async def test_a_call_carries_its_key_and_the_token():
    async with receiver(OK) as (url, heard):
        assert await post(Post(url, b'{"a":1}', "key-1", "s3cret"), OPEN) == Fate(True)
    head, body = heard[0].split(b"\r\n\r\n", 1)
    assert head.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
    assert b"Authorization: Bearer s3cret" in head
    assert b"Idempotency-Key: key-1" in head
    assert body == b'{"a":1}'


@pytest.mark.parametrize(
    ("answer", "again"), [(BUSY, True), (GONE, False), (MOVED, False), (b"nonsense\r\n\r\n", True)]
)
async def test_an_answer_that_is_no_success(answer: bytes, again: bool):
    async with receiver(answer) as (url, heard):
        fate = await post(Post(url, b"{}", "k"), OPEN)
    assert (fate.ok, fate.again, len(heard)) == (False, again, 1)


async def test_an_address_of_this_machine_is_not_even_connected_to():
    async with receiver(OK) as (url, heard):
        fate = await post(Post(url, b"{}", "k"), Reach())
    assert (fate.ok, fate.again, heard) == (False, False, [])
    assert "cron.webhookSsrfPolicy.allowPrivateNetwork" in fate.error


async def test_one_who_never_answers_is_given_up(autojump_clock):
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
        # The name is looked up in a thread, which a clock that jumps by itself does not wait for.
        autojump_clock.autojump_threshold = 0.2
        fate = await post(Post(url, b"{}", "k"), OPEN)
        await listener.aclose()
        nursery.cancel_scope.cancel()
    assert fate == Fate(False, "no answer within 10 s", again=True)


async def told_by(url: str, tmp_path: Any, seconds: float, **delivery: Any) -> tuple[dict[str, Any], Any]:
    """A job with a webhook, run once; the job and its line of the log."""
    tree = {"cron": {"webhookSsrfPolicy": {"allowPrivateNetwork": True}, "webhookToken": "t"}}
    async with open_jobs(tmp_path, tree=tree) as box:
        async with trio.open_nursery() as workers:
            await workers.start(box.answer_all)
            job = await box.add(delivery={"mode": "webhook", "to": url, **delivery})
            await box.cron.run(job["id"])
            entries: list[RunEntry] = []
            for _ in range(200):  # the other end is a real socket
                await box.pass_time(seconds / 20)
                entries = await box.log(job["id"])
                if entries and entries[0].delivery_status in ("delivered", "not-delivered"):
                    break
            workers.cancel_scope.cancel()
        return await box.cron.get(job["id"]), entries[0]


async def test_the_end_of_a_run_is_told_and_the_log_says_so(tmp_path, mock_clock):
    async with receiver(BUSY, OK) as (url, heard):
        job, entry = await told_by(url, tmp_path, 20)
    assert (entry.status, entry.delivery_status, entry.delivered) == ("ok", "delivered", True)
    assert job["lastDeliveryStatus"] == "delivered"
    first, second = (json.loads(one.split(b"\r\n\r\n", 1)[1]) for one in heard)
    assert first == second
    assert (first["jobId"], first["status"], first["summary"]) == (job["id"], "ok", "done")


@pytest.mark.parametrize(("best_effort", "status"), [(False, "error"), (True, "ok")])
async def test_a_result_that_cannot_be_told_is_an_error_unless_that_does_not_matter(
    tmp_path, mock_clock, best_effort: bool, status: str
):
    async with receiver(GONE) as (url, _):
        job, entry = await told_by(url, tmp_path, 20, bestEffort=best_effort)
    assert (entry.status, entry.delivery_status, entry.delivery_error) == (status, "not-delivered", "HTTP 410")
    assert job["state"]["lastRunStatus"] == status


async def test_results_nobody_takes_are_told_and_switch_a_job_off(tmp_path, mock_clock):
    tree = {"cron": {"webhookSsrfPolicy": {"allowPrivateNetwork": True}}}
    async with receiver(GONE) as (url, _), open_jobs(tmp_path, tree=tree) as box:
        async with trio.open_nursery() as workers:
            await workers.start(box.answer_all)
            alert = {"after": 2, "to": "agent:main:ops", "cooldownMs": 10**9}
            elsewhere = {"mode": "announce", "to": "agent:main:others"}
            told = {"mode": "webhook", "to": url, "failureDestination": elsewhere}
            job = await box.add(delivery=told, failureAlert=alert)
            for _ in range(2000):  # the other end is a real socket
                await box.pass_time(60)
                if not (job := await box.cron.get(job["id"]))["enabled"]:
                    break
            workers.cancel_scope.cancel()
        assert job["state"]["autoDisabled"]["reason"] == "consecutive-failures"
        entries = await box.log(job["id"])
        assert [(entry.status, entry.error) for entry in entries] == [("error", "not delivered: HTTP 410")] * 10
        for session, times in (("ops", 1), ("others", 10)):
            heard = [text for role, text in box.texts(f"agent:main:{session}") if role == "user"]
            assert len(heard) == times
            assert heard[0].endswith("Error: not delivered: HTTP 410")


async def test_a_job_that_runs_once_stays_until_its_result_has_arrived(tmp_path, mock_clock):
    tree = {"cron": {"webhookSsrfPolicy": {"allowPrivateNetwork": True}}}
    async with receiver(BUSY, GONE, OK) as (url, _), open_jobs(tmp_path, tree=tree) as box:
        async with trio.open_nursery() as workers:
            await workers.start(box.answer_all)
            once: dict[str, Any] = {
                "schedule": {"kind": "at", "at": box.now + 5000},
                "delivery": {"mode": "webhook", "to": url},
            }
            lost, taken = await box.add(**once), await box.add(**{**once, "deleteAfterRun": True})
            for _ in range(200):
                await box.pass_time(5)
                if all(entry.delivered is not None for entry in await box.log()):
                    break
            workers.cancel_scope.cancel()
        fates = {entry.job_id: entry.delivery_status for entry in await box.log()}
        left = {job["id"] for job in await box.jobs()}
    assert sorted(map(str, fates.values())) == ["delivered", "not-delivered"]
    assert left == {job for job, fate in fates.items() if fate == "not-delivered"}
    assert set(fates) == {lost["id"], taken["id"]}
